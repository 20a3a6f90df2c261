#include "cli/doctor.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/text.h"
#include "engine/device.h"
#include "hub/cache.h"

namespace lorikeet {
namespace {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The file libtorch's code was loaded from: with several torches on a machine, the first question to ask.
std::string libtorch_path() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&at::get_cpu_capability), &info) == 0) return "unknown";
  return info.dli_fname;
}

int64_t count_models(const fs::path& cache) {
  int64_t count = 0;
  std::error_code error;
  for (fs::directory_iterator entry(cache, error), end; !error && entry != end; entry.increment(error)) {
    count += entry->path().filename().string().starts_with("models--");
  }
  return count;
}

Json machine_section(const Findings& found) {
  return {{"processor", found.processor.name},
          {"usable_cores", found.processor.usable_cores},
          {"speed_features", found.processor.speed},
          {"memory_bytes", found.memory.total},
          {"free_memory_bytes", found.memory.available}};
}

Json libtorch_section(const Findings& found) {
  return {{"version", TORCH_VERSION},
          {"library", libtorch_path()},
          {"kernels", at::get_cpu_capability()},
          {"threads", found.threads}};
}

Json gpu_section(const GpuDriver& driver, const Findings& found) {
  Json section;
  section["usable"] = found.gpu_usable;
  const std::string library = load_cuda();
  section["libtorch_cuda"] = library.empty() ? "loaded" : library;
  if (!driver.problem.empty()) {
    section["driver"] = driver.problem;
    return section;
  }
  section["driver"] = str("for CUDA up to ", driver.cuda);
  for (size_t i = 0; i < driver.gpus.size(); ++i) {
    const Gpu& gpu = driver.gpus[i];
    section[str("gpu_", i)] = str(gpu.name, ", ", bytes_text(gpu.memory), ", compute capability ", gpu.capability);
  }
  return section;
}

Json cache_section() {
  const fs::path cache = hub_cache_folder();
  Json section = {{"hugging_face_hub", cache.string()}, {"models", count_models(cache)}};
  if (const auto free = free_disk(cache)) section["free_disk_bytes"] = *free;
  return section;
}

Json disk_section(const Findings& found) {
  std::error_code error;
  return {{"folder", fs::current_path(error).string()}, {"free_disk_bytes", found.free_disk}};
}

/// Numbers of bytes are plain in JSON, and readable on a screen.
std::string plain(const std::string& name, const Json& value) {
  if (name.ends_with("_bytes")) return bytes_text(value.get<int64_t>());
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const Json& item : value) text += (text.empty() ? "" : ", ") + item.get<std::string>();
  return text.empty() ? "none" : text;
}

std::string spaced(std::string name) {
  if (name.ends_with("_bytes")) name.resize(name.size() - 6);
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

void print_text(const Json& report) {
  for (const auto& [heading, section] : report.items()) {
    if (section.empty()) continue;
    std::cout << heading << ":\n";
    if (section.is_array()) {
      for (const Json& note : section) std::cout << "  - " << note.get<std::string>() << "\n";
      continue;
    }
    for (const auto& [name, value] : section.items()) {
      std::cout << "  " << spaced(name) << ": " << plain(name, value) << "\n";
    }
  }
}

}  // namespace

OptionList fields(DoctorOptions& options) {
  OptionList list;
  list.group("Output");
  list.add("json", &options.json, "Print the report as JSON.");
  return list;
}

void doctor(const DoctorOptions& options) {
  const GpuDriver driver = gpu_driver();
  Findings found;
  found.processor = processor();
  found.memory = memory();
  found.threads = at::get_num_threads();
  found.gpu_present = !driver.gpus.empty();
  found.gpu_usable = cuda_is_available();
  found.gpu_problem =
      load_cuda().empty() ? "the driver is too old for it, or the GPU is not one of its kinds" : load_cuda();
  found.free_disk = free_disk(".").value_or(0);
  const Json report = {{"machine", machine_section(found)}, {"libtorch", libtorch_section(found)},
                       {"gpu", gpu_section(driver, found)}, {"caches", cache_section()},
                       {"disk", disk_section(found)},       {"notes", advice(found)}};
  if (options.json) {
    std::cout << report.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    print_text(report);
  }
}

}  // namespace lorikeet

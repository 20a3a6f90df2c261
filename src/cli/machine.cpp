#include "cli/machine.h"

#include <dlfcn.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/text.h"

namespace lorikeet {
namespace {
namespace fs = std::filesystem;

/// Files under /proc and /sys have no size, so that they cannot be read as others are.
std::string system_file(const char* path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string value_after_colon(const std::string& line) {
  const size_t start = line.find_first_not_of(" \t", line.find(':') + 1);
  return start == std::string::npos ? "" : line.substr(start);
}

int64_t allowed_cores() {
  cpu_set_t set;
  int64_t cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  // "200000 100000" grants two cores' time, "max 100000" no limit.
  std::istringstream quota(system_file("/sys/fs/cgroup/cpu.max"));
  double granted = 0, period = 0;
  if (quota >> granted >> period && period > 0) cores = std::min<int64_t>(cores, std::ceil(granted / period));
  return std::max<int64_t>(cores, 1);
}

std::optional<int64_t> number_in(const char* path) {
  std::istringstream in(system_file(path));
  int64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;
}

/// The few functions of NVIDIA's driver that are asked, found at run time.
class DriverLibrary {
 public:
  DriverLibrary() : handle_(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)) {}
  bool found() const { return handle_ != nullptr; }

  template <class... Args>
  bool call(const char* name, Args... args) const {
    auto* function = reinterpret_cast<int (*)(Args...)>(dlsym(handle_, name));
    return function != nullptr && function(args...) == 0;
  }

 private:
  void* handle_;  // never closed: the driver does not like to be unloaded
};

// CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76;

Gpu ask_gpu(const DriverLibrary& driver, int device) {
  Gpu gpu;
  char name[256] = "";
  size_t memory = 0;
  int major = 0, minor = 0;
  if (driver.call("cuDeviceGetName", static_cast<char*>(name), static_cast<int>(sizeof name), device)) gpu.name = name;
  if (driver.call("cuDeviceTotalMem_v2", &memory, device)) gpu.memory = static_cast<int64_t>(memory);
  driver.call("cuDeviceGetAttribute", &major, kCapabilityMajor, device);
  driver.call("cuDeviceGetAttribute", &minor, kCapabilityMinor, device);
  gpu.capability = str(major, ".", minor);
  return gpu;
}

}  // namespace

bool Processor::has(const std::string& feature) const {
  return std::find(speed.begin(), speed.end(), feature) != speed.end();
}

Processor parse_cpuinfo(const std::string& text) {
  Processor found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line) && (found.name.empty() || found.speed.empty());) {
    if (line.starts_with("model name")) found.name = value_after_colon(line);
    if (!line.starts_with("flags")) continue;
    const std::string flags = str(" ", value_after_colon(line), " ");
    for (const char* feature : {"avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"}) {
      if (flags.find(str(" ", feature, " ")) != std::string::npos) found.speed.push_back(feature);
    }
  }
  if (found.name.empty()) found.name = "unknown";
  return found;
}

Processor processor() {
  Processor found = parse_cpuinfo(system_file("/proc/cpuinfo"));
  found.usable_cores = allowed_cores();
  return found;
}

Memory parse_meminfo(const std::string& text) {
  Memory found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream value(value_after_colon(line));
    int64_t kibibytes = 0;
    if (!(value >> kibibytes)) continue;
    if (line.starts_with("MemTotal:")) found.total = kibibytes * 1024;
    if (line.starts_with("MemAvailable:")) found.available = kibibytes * 1024;
  }
  return found;
}

Memory memory() {
  Memory found = parse_meminfo(system_file("/proc/meminfo"));
  // A file that says "max" is no number, and then the machine's memory is the limit.
  if (const auto limit = number_in("/sys/fs/cgroup/memory.max"); limit && *limit < found.total) {
    found.total = *limit;
    const int64_t used = number_in("/sys/fs/cgroup/memory.current").value_or(0);
    found.available = std::min(found.available, std::max<int64_t>(*limit - used, 0));
  }
  return found;
}

std::optional<int64_t> free_disk(fs::path path) {
  std::error_code error;
  path = fs::absolute(path, error);
  while (!fs::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  const fs::space_info space = fs::space(path, error);
  if (error) return std::nullopt;
  return static_cast<int64_t>(space.available);
}

GpuDriver gpu_driver() {
  GpuDriver found;
  const DriverLibrary driver;
  if (!driver.found()) {
    found.problem = "no NVIDIA driver is installed (libcuda.so.1 was not found)";
    return found;
  }
  int version = 0, count = 0;
  if (!driver.call("cuInit", 0u) || !driver.call("cuDeviceGetCount", &count) || count == 0) {
    found.problem = "an NVIDIA driver is installed, but it finds no GPU";
    return found;
  }
  if (driver.call("cuDriverGetVersion", &version)) found.cuda = str(version / 1000, ".", version % 1000 / 10);
  for (int device = 0; device < count; ++device) found.gpus.push_back(ask_gpu(driver, device));
  return found;
}

std::string bytes_text(int64_t bytes) {
  constexpr double kGibibyte = 1024.0 * 1024.0 * 1024.0;
  std::ostringstream out;
  out.setf(std::ios::fixed);
  if (bytes >= kGibibyte) {
    out.precision(1);
    out << static_cast<double>(bytes) / kGibibyte << " GiB";
  } else {
    out << bytes / (1024 * 1024) << " MiB";
  }
  return out.str();
}

}  // namespace lorikeet

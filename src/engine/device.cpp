#include "engine/device.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <dlfcn.h>
#include <sys/resource.h>

#include <fstream>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "CPU";
}

}  // namespace

std::string load_cuda() {
  // Must happen before the first question about CUDA: loading registers CUDA's hooks in a program linked without it.
  static const std::string reason = [] {
    if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) return std::string(dlerror());
    return std::string();
  }();
  return reason;
}

bool cuda_is_available() { return load_cuda().empty() && at::hasCUDA() && torch::cuda::is_available(); }

torch::Device choose_device(const std::string& name) {
  if (name == "cpu") return torch::kCPU;
  if (name == "auto") return cuda_is_available() ? torch::Device(torch::kCUDA, 0) : torch::Device(torch::kCPU);
  const bool indexed = name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() <= 7 &&
                       name.find_first_not_of("0123456789", 5) == std::string::npos;
  if (name != "cuda" && !indexed) {
    throw UsageError(str("--device is '", name, "', expected auto, cpu, cuda or cuda:N"));
  }
  if (!cuda_is_available()) {
    const std::string reason = load_cuda();
    throw UsageError(str("--device=", name, ": no GPU can be used here: ",
                         reason.empty() ? "libtorch's CUDA half found no NVIDIA driver or GPU" : reason),
                     "use --device=cpu, or run `lorikeet doctor` to see what is missing");
  }
  const int index = indexed ? std::stoi(name.substr(5)) : 0;
  if (index >= static_cast<int>(torch::cuda::device_count())) {
    throw UsageError(str("--device=", name, ": there are only ", torch::cuda::device_count(), " GPUs, counted from 0"));
  }
  return {torch::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

torch::ScalarType parse_dtype(const std::string& name, torch::Device device) {
  if (name == "fp32" || name == "no") return torch::kFloat;
  if (name == "bf16") return torch::kBFloat16;
  if (name != "fp16") throw UsageError(str("precision is '", name, "', expected fp32, fp16 or bf16"));
  if (device.is_cpu()) throw UsageError("fp16 does not work on a CPU", "use bf16, or no mixed precision");
  return torch::kHalf;
}

std::string device_description(torch::Device device) {
  if (device.is_cpu()) return str(cpu_name(), ", ", torch::get_num_threads(), " threads");
  return str("GPU ", device.str());
}

int64_t peak_memory_bytes(torch::Device device) {
  if (!device.is_cpu()) {
    const auto stats = at::getDeviceAllocator(device.type())->getDeviceStats(device.index());
    return stats.allocated_bytes[0].peak;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace lorikeet

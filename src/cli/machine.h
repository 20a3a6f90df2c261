// What this machine is made of, asked of the system itself; no libtorch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lorikeet {

struct Processor {
  std::string name;
  int64_t usable_cores = 0;        // this process may run on so many; a container's share counts
  std::vector<std::string> speed;  // those of avx2, fma, avx512f, avx512_bf16, amx_bf16 it has

  bool has(const std::string& feature) const;
};

/// Reads text in the form of /proc/cpuinfo; `usable_cores` is left to `processor()`.
Processor parse_cpuinfo(const std::string& text);
Processor processor();

struct Memory {
  int64_t total = 0;      // bytes; the container's limit where there is a smaller one
  int64_t available = 0;  // bytes
};

/// Reads text in the form of /proc/meminfo.
Memory parse_meminfo(const std::string& text);
Memory memory();

/// Bytes free for us on the disk of `path`, or of its nearest parent that exists.
std::optional<int64_t> free_disk(std::filesystem::path path);

struct Gpu {
  std::string name;
  int64_t memory = 0;      // bytes
  std::string capability;  // "9.0"
};

struct GpuDriver {
  std::string problem;  // why there is none; empty when there is one
  std::string cuda;     // the newest CUDA it can run: "13.0"
  std::vector<Gpu> gpus;
};

/// Asks NVIDIA's driver, when one is installed.
GpuDriver gpu_driver();

/// 1536 MiB -> "1.5 GiB".
std::string bytes_text(int64_t bytes);

}  // namespace lorikeet

#include <gtest/gtest.h>
#include <malloc.h>

#include <fstream>
#include <functional>
#include <iostream>
#include <map>

#include "core/errors.h"
#include "core/text.h"
#include "io/file_test_support.h"
#include "lora/inspect.h"
#include "lora/lora_file.h"

namespace lorikeet {
namespace {

constexpr size_t kHeaderBytes = 10'000'000;

/// The process's memory in bytes: now ("VmRSS:") or at most since forget_peak ("VmHWM:").
int64_t memory(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name)) return std::stoll(line.substr(name.size())) * 1024;
  }
  ADD_FAILURE() << "no " << name << " in /proc/self/status";
  return 0;
}

/// False where the kernel does not let us.
bool forget_peak() {
  ::malloc_trim(0);
  return static_cast<bool>(std::ofstream("/proc/self/clear_refs") << "5" << std::flush);
}

/// {"0":VALUE,"1":VALUE,...}, of 10 MB in all with what is around it, or of `most` entries.
std::string many(const std::string& value, size_t most = kHeaderBytes) {
  std::string entries = "{";
  for (size_t i = 0; i < most && entries.size() + value.size() + 60 < kHeaderBytes; ++i) {
    entries += lorikeet::str(i > 0 ? "," : "", "\"lora_unet_", i, "\":", value);
  }
  return entries + "}";
}

std::string padded(std::string header) {
  header.resize(kHeaderBytes, ' ');
  return header;
}

std::string empty_tensor(size_t dimensions) {
  std::string shape = "0";
  for (size_t i = 1; i < dimensions; ++i) shape += ",0";
  return lorikeet::str(R"({"dtype":"F32","shape":[)", shape, R"(],"data_offsets":[0,0]})");
}

TEST(LoraMemory, AHeaderCostsFourTimesItsBytesAndALittleAtMost) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "with the sanitizer's own memory";
#endif
  if (!forget_peak()) GTEST_SKIP() << "the kernel does not forget peaks";
  const TestFolder folder;
  const std::map<std::string, std::function<std::string()>> headers{
      {"tensors", [] { return many(empty_tensor(1)); }},
      {"as many tensors as are read", [] { return padded(many(empty_tensor(1), 30'000)); }},
      {"as many of as many dimensions", [] { return padded(many(empty_tensor(64), 30'000)); }},
      {"metadata", [] { return R"({"__metadata__":)" + many("\"\"") + "}"; }},
      {"as much metadata as is read", [] { return padded(R"({"__metadata__":)" + many("\"\"", 10'000) + "}"); }},
      {"one text", [] { return R"({"__metadata__":{"x":")" + std::string(kHeaderBytes - 30, 'x') + "\"}}"; }},
      {"one text that does not end", [] { return R"({"__metadata__":{"x":")" + std::string(kHeaderBytes - 22, 'x'); }},
      {"one name", [] { return "{\"" + std::string(kHeaderBytes - 60, 'x') + "\":" + empty_tensor(1) + "}"; }},
      {"one number", [] { return R"({"x":{"dtype":"F32","shape":[)" + std::string(kHeaderBytes - 30, '1'); }},
      {"settings",
       [] { return R"({"__metadata__":{"lora_adapter_metadata":"[)" + std::string(1'000'000, '[') + "\"}}"; }},
      {"depth", [] { return std::string(kHeaderBytes, '['); }}};
  for (const auto& [name, make] : headers) {
    SCOPED_TRACE(name);
    const auto path = folder.path() / "x.safetensors";
    size_t bytes = 0;
    {
      const auto header = make();
      bytes = header.size();
      folder.write("x.safetensors", safetensors_bytes(header, ""));
    }
    EXPECT_LE(bytes, kHeaderBytes);
    forget_peak();
    const int64_t before = memory("VmRSS:");
    EXPECT_THROW(read_lora_file(path), FormatError);
    const auto extra = memory("VmHWM:") - before;
    EXPECT_LE(extra, static_cast<int64_t>(4 * bytes) + 64'000'000);
    RecordProperty(name, std::to_string(extra));
    std::cout << name << ": " << bytes << " bytes of header, " << extra << " of memory\n";
  }
}

}  // namespace
}  // namespace lorikeet

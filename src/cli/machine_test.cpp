#include "cli/machine.h"

#include <gtest/gtest.h>

#include "cli/doctor.h"

namespace lorikeet {
namespace {

constexpr int64_t kGibibyte = int64_t{1} << 30;

/// A machine nothing is wrong with.
Findings good_machine() {
  Findings found;
  found.processor = {.name = "CPU", .usable_cores = 8, .speed = {"avx2", "fma", "avx512f", "avx512_bf16"}};
  found.memory = {.total = 64 * kGibibyte, .available = 48 * kGibibyte};
  found.threads = 8;
  found.gpu_usable = found.gpu_present = true;
  found.free_disk = 100 * kGibibyte;
  return found;
}

bool mentions(const std::vector<std::string>& notes, const std::string& text) {
  for (const auto& note : notes) {
    if (note.find(text) != std::string::npos) return true;
  }
  return false;
}

TEST(Machine, ReadsTheProcessor) {
  const Processor found = parse_cpuinfo(
      "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t\t: fpu avx2 avx512f fma\nprocessor\t: 1\n"
      "model name\t: Other\nflags\t\t: amx_bf16\n");
  EXPECT_EQ(found.name, "Some CPU @ 2GHz");
  EXPECT_EQ(found.speed, (std::vector<std::string>{"avx2", "fma", "avx512f"}));
  EXPECT_TRUE(found.has("avx2"));
  EXPECT_FALSE(found.has("amx_bf16"));
  EXPECT_FALSE(parse_cpuinfo("model name : X\nflags : avx2_like\n").has("avx2"));
  EXPECT_EQ(parse_cpuinfo("").name, "unknown");
  EXPECT_GE(processor().usable_cores, 1);
}

TEST(Machine, ReadsMemory) {
  const Memory found = parse_meminfo("MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n");
  EXPECT_EQ(found.total, 16000000LL * 1024);
  EXPECT_EQ(found.available, 8000000LL * 1024);
  EXPECT_EQ(parse_meminfo("nonsense\n").total, 0);
  const Memory here = memory();
  EXPECT_GT(here.total, 0);
  EXPECT_LE(here.available, here.total);
}

TEST(Machine, MeasuresTheDiskOfAFolderThatIsNotThereYet) {
  EXPECT_TRUE(free_disk("/tmp").has_value());
  EXPECT_TRUE(free_disk("/tmp/not/there/yet").has_value());
}

TEST(Machine, SpellsBytes) {
  EXPECT_EQ(bytes_text(kGibibyte * 3 / 2), "1.5 GiB");
  EXPECT_EQ(bytes_text(kGibibyte / 2), "512 MiB");
  EXPECT_EQ(bytes_text(0), "0 MiB");
}

TEST(Advice, HasNothingToSayAboutAGoodMachine) { EXPECT_TRUE(advice(good_machine()).empty()); }

TEST(Advice, SaysWhatWouldBeSlow) {
  Findings found = good_machine();
  found.gpu_usable = false;
  found.gpu_problem = "too old";
  EXPECT_TRUE(mentions(advice(found), "libtorch cannot use it: too old"));
  found.gpu_present = false;
  EXPECT_EQ(advice(found).size(), 1u);
  EXPECT_TRUE(mentions(advice(found), "Without a GPU"));
  found.processor.speed = {};
  found.threads = 1;
  found.memory.available = 2 * kGibibyte;
  found.free_disk = kGibibyte;
  const auto notes = advice(found);
  EXPECT_TRUE(mentions(notes, "no AVX2"));
  EXPECT_TRUE(mentions(notes, "no bf16 arithmetic"));
  EXPECT_TRUE(mentions(notes, "uses 1 of 8 cores"));
  EXPECT_TRUE(mentions(notes, "Only 2.0 GiB of memory"));
  EXPECT_TRUE(mentions(notes, "Only 1.0 GiB of disk"));
  found.threads = 16;
  EXPECT_TRUE(mentions(advice(found), "set OMP_NUM_THREADS=8"));
}

}  // namespace
}  // namespace lorikeet

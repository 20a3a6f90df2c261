#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <typeinfo>

#include "core/errors.h"
#include "core/text.h"
#include "io/file_test_support.h"
#include "lora/lora_fuzz_support.h"

namespace lorikeet {
namespace {

const std::filesystem::path kSeeds = "tests/data/lora";

// Merging LoKr takes two factors in float64, of a layer of 2^25 numbers at most; all else takes a few MiB. Sanitizers
// are slow, and keep freed memory for a while.
#if defined(__SANITIZE_ADDRESS__)
constexpr double kMostSeconds = 10, kMostMib = 3000;
#else
constexpr double kMostSeconds = 1, kMostMib = 600;
#endif

/// A setting for long runs: LORIKEET_FUZZ_ROUNDS=6000 damaged files of each kind, other ones with LORIKEET_FUZZ_SEED=2.
int setting(const char* name, int usual) {
  const char* const text = std::getenv(name);
  return text == nullptr ? usual : std::max(1, std::atoi(text));
}
int rounds() { return setting("LORIKEET_FUZZ_ROUNDS", 250); }
FuzzRandom fuzz_random() { return FuzzRandom(static_cast<uint64_t>(setting("LORIKEET_FUZZ_SEED", 1))); }

/// Of the processor, so that a busy machine does not count.
double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double peak_mib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

std::vector<std::filesystem::path> seeds(const std::vector<std::string>& extensions) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(kSeeds)) {
    const bool is_reference = entry.path().filename() == "changes.safetensors";
    if (!is_reference && std::ranges::find(extensions, entry.path().extension().string()) != extensions.end()) {
      paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// Without torch's stack trace.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// Sends files down the road and keeps the accounts.
class Traffic {
 public:
  Traffic() : cpu_threads_(torch::get_num_threads()) { torch::set_num_threads(1); }
  ~Traffic() { torch::set_num_threads(cpu_threads_); }

  FuzzStation send(const std::filesystem::path& path, const std::string& label) {
    const double begin = processor_seconds();
    auto station = FuzzStation::kRead;
    try {
      station = take_the_road(models_, path, folder_.path());
    } catch (const std::exception& error) {
      ADD_FAILURE() << label << ": " << typeid(error).name() << ": " << first_line(error.what());
    }
    const double seconds = processor_seconds() - begin;
    EXPECT_LT(seconds, kMostSeconds) << label;
    if (seconds > slowest_) slowest_label_ = label;
    slowest_ = std::max(slowest_, seconds);
    ++reached_[static_cast<size_t>(station)];
    const int failures = testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count();
    if (failures > failures_) keep(path, label);
    failures_ = failures;
    return station;
  }

  const TestFolder& folder() const { return folder_; }
  int reached(FuzzStation station) const { return reached_[static_cast<size_t>(station)]; }

  void tell(double mib_before) const {
    std::string stations;
    for (const int count : reached_) stations += lorikeet::str(stations.empty() ? "" : " ", count);
    testing::Test::RecordProperty("stations", stations);
    std::cout << "ended at read, inspect, attach, write, rework, end: " << stations << "; slowest " << slowest_ * 1000
              << " ms for " << slowest_label_ << "; peak memory " << mib_before << " MiB before, " << peak_mib()
              << " MiB after\n";
  }

 private:
  /// For looking at it: LORIKEET_FUZZ_KEEP=FOLDER.
  void keep(const std::filesystem::path& path, const std::string& label) {
    const char* const folder = std::getenv("LORIKEET_FUZZ_KEEP");
    if (folder == nullptr) return;
    std::filesystem::copy_file(path, std::filesystem::path(folder) / (label + path.extension().string()),
                               std::filesystem::copy_options::overwrite_existing);
  }

  int cpu_threads_ = 0, failures_ = 0;
  TestFolder folder_;
  FuzzModels models_;
  double slowest_ = 0;
  std::string slowest_label_;
  std::array<int, 6> reached_{};
};

TEST(LoraFuzz, DamagedSafetensorsAreUsedOrRefused) {
  Traffic traffic;
  const auto paths = seeds({".safetensors"});
  ASSERT_GT(paths.size(), 15u);
  std::vector<FuzzFile> files;
  for (const auto& path : paths) {
    EXPECT_EQ(traffic.send(path, path.filename()), FuzzStation::kEnd) << path << " is whole";
    files.push_back(read_fuzz_file(path));
  }
  const int whole = traffic.reached(FuzzStation::kEnd);
  const double before = peak_mib();
  auto random = fuzz_random();
  for (int round = 0; round < rounds(); ++round) {
    const size_t seed = static_cast<size_t>(round) % files.size();
    const auto path = traffic.folder().write("x.safetensors", damaged_safetensors(files[seed], random));
    traffic.send(path, lorikeet::str(paths[seed].stem().string(), "-", round));
  }
  traffic.tell(before);
  EXPECT_GT(traffic.reached(FuzzStation::kEnd) - whole, rounds() / 10);  // or the changes are too coarse
  EXPECT_GT(traffic.reached(FuzzStation::kRead), rounds() / 5);
  EXPECT_LT(peak_mib() - before, kMostMib);
}

TEST(LoraFuzz, DamagedPicklesAreUsedOrRefusedAndRunNothing) {
  Traffic traffic;
  const auto paths = seeds({".pt", ".bin", ".ckpt"});
  ASSERT_GT(paths.size(), 5u);
  std::vector<FuzzEntries> files;
  for (const auto& path : paths) {
    EXPECT_EQ(traffic.send(path, path.filename()), FuzzStation::kEnd) << path << " is whole";
    files.push_back(read_fuzz_entries(path));
  }
  const int whole = traffic.reached(FuzzStation::kEnd);
  const double before = peak_mib();
  const auto mark = traffic.folder().path() / "was_here";
  auto random = fuzz_random();
  for (int round = 0; round < rounds(); ++round) {
    const size_t seed = static_cast<size_t>(round) % files.size();
    const auto bytes = damaged_torch_file(files[seed], "touch " + mark.string(), random);
    traffic.send(traffic.folder().write("x.pt", bytes), lorikeet::str(paths[seed].stem().string(), "-", round));
  }
  traffic.tell(before);
  EXPECT_FALSE(std::filesystem::exists(mark));
  EXPECT_GT(traffic.reached(FuzzStation::kEnd) - whole, rounds() / 20);
  EXPECT_GT(traffic.reached(FuzzStation::kRead), rounds() / 3);
  EXPECT_LT(peak_mib() - before, kMostMib);
}

}  // namespace
}  // namespace lorikeet

#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "io/file_test_support.h"
#include "io/torch_file.h"
#include "io/torch_file_test_support.h"
#include "io/zip_reader.h"

namespace lorikeet {
namespace {

constexpr int kRounds = 6000;

using Entries = std::vector<std::pair<std::string, std::string>>;

Entries entries_of(const std::filesystem::path& path) {
  const ZipFile zip(path);
  Entries entries;
  for (const auto& entry : zip.entries()) {
    entries.emplace_back(entry.name, std::string(entry.bytes, '\0'));
    zip.read(entry, entries.back().second.data());
  }
  return entries;
}

const std::vector<std::string> kFragments{global_of("os", "system"),
                                          global_of("builtins", "set"),
                                          global_of("numpy", "dtype"),
                                          global_of("torch._utils", "_rebuild_tensor_v2"),
                                          pickled("builtins") + pickled("eval") + "\x93",
                                          "R",
                                          "b",
                                          "(ios\nsystem\n",
                                          "(o",
                                          "\x81",
                                          "\x92",
                                          "\x82\x01",
                                          "\x83\x01\x02",
                                          std::string("\x84\1\0\0\0", 5),
                                          "X\xff\xff\xff\xff",
                                          "\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
                                          "\x8b\xff\xff\xff\x7f",
                                          "\x8a\xff",
                                          "J\xff\xff\xff\x7f",
                                          std::string("\x8a\x08\0\0\0\0\0\0\0\x80", 10),
                                          "(",
                                          "t",
                                          "u",
                                          "e",
                                          "0",
                                          "2",
                                          "Q",
                                          ")",
                                          "}",
                                          "\x87",
                                          "h\x01",
                                          "r\xff\xff\xff\xff",
                                          "\x94",
                                          ".",
                                          tensor_of(24, 0, 2147483647, 0),
                                          storage_of("BoolStorage", "0", 96)};

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  /// A damaged pickle in a good zip file two times out of three, else a damaged zip file.
  std::string mutate(Entries entries) {
    if (below(3) > 0) {
      for (auto& [name, data] : entries) {
        if (!name.ends_with("data.pkl")) continue;
        for (size_t changes = 1 + below(3); changes > 0; --changes) change(data);
      }
      return zip_bytes(entries);
    }
    auto bytes = zip_bytes(entries);
    const size_t directory = bytes.find("PK\1\2");
    if (below(3) == 0) return bytes.substr(0, below(bytes.size()));
    for (size_t changes = 1 + below(4); changes > 0; --changes) {
      const size_t at = below(2) == 0 ? directory + below(bytes.size() - directory) : below(bytes.size());
      bytes[at] = static_cast<char>(below(3) == 0 ? 0xff : below(256));
    }
    return bytes;
  }

 private:
  size_t below(size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random_); }

  void change(std::string& text) {
    if (text.empty()) return;
    const size_t at = below(text.size());
    switch (below(6)) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
        break;
      case 1:
        text[at] = static_cast<char>(below(256));
        break;
      case 2:
        text.erase(at, 1 + below(12));
        break;
      case 3:
        text.insert(at, text.substr(below(text.size()), below(100)));
        break;
      case 4:
        text.resize(at);
        break;
      default:
        text.insert(at, kFragments[below(kFragments.size())]);
        break;
    }
  }

  std::mt19937 random_;
};

/// Reads every byte of every tensor within reach, so that one outside its memory would be noticed.
double touch(const PickleValue& value, int depth) {
  if (depth == 0) return 0;
  double sum = 0;
  if (const auto* tensor = value.as<torch::Tensor>()) {
    const auto bytes = tensor->contiguous();
    const auto* begin = static_cast<const unsigned char*>(bytes.data_ptr());
    for (size_t i = 0; i < bytes.nbytes(); ++i) sum += begin[i];
  } else if (const auto* dict = value.as<PickleDict>()) {
    for (const auto& [key, item] : dict->items) sum += touch(*item, depth - 1);
  } else if (const auto* sequence = value.as<PickleSequence>()) {
    for (const auto* item : sequence->items) sum += touch(*item, depth - 1);
  }
  return sum;
}

TEST(TorchFileFuzz, DamagedFilesAreReadOrRefusedAndNeverAnythingElse) {
  TestFolder folder;
  const std::filesystem::path files = "tests/data/torch_files";
  const std::vector<Entries> seeds{entries_of(files / "values.pt"), entries_of(files / "checkpoint-7/optimizer.bin"),
                                   entries_of(files / "checkpoint-7/random_states_0.pkl"),
                                   entries_of(files / "checkpoint-7/scheduler.bin")};
  Mutator mutator(20240611);
  int accepted = 0, refused = 0;
  double sum = 0;
  auto slowest = std::chrono::steady_clock::duration::zero();
  for (int round = 0; round < kRounds; ++round) {
    const auto started = std::chrono::steady_clock::now();
    const auto path = folder.write("x.bin", mutator.mutate(seeds[static_cast<size_t>(round) % seeds.size()]));
    try {
      const TorchFile file(path);
      sum += touch(file.root(), 6);
      ++accepted;
    } catch (const FormatError& error) {
      EXPECT_NE(std::string(error.what()).find("x.bin"), std::string::npos) << error.what();
      EXPECT_LT(std::string(error.what()).size(), 500U);
      ++refused;
    }
    slowest = std::max(slowest, std::chrono::steady_clock::now() - started);
  }
  EXPECT_EQ(accepted + refused, kRounds);
  EXPECT_GT(accepted, kRounds / 20);  // or the mutations are too coarse to get past the first checks
  EXPECT_GT(refused, kRounds / 3);
  EXPECT_GT(sum, 0);
  EXPECT_LT(slowest, std::chrono::seconds(5));  // milliseconds, on a machine that is idle
}

}  // namespace
}  // namespace lorikeet

#include <gtest/gtest.h>

#include <random>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "io/file_test_support.h"
#include "io/safetensors.h"

namespace lorikeet {
namespace {

constexpr int kRounds = 6000;

const std::vector<std::string> kFragments{"-1",
                                          "0",
                                          "1",
                                          "18446744073709551615",
                                          "9223372036854775807",
                                          "1e400",
                                          "4294967296",
                                          "[",
                                          "]",
                                          "{",
                                          "}",
                                          ",",
                                          ":",
                                          "\"",
                                          "\\",
                                          "\\u0000",
                                          "\\ud800",
                                          "null",
                                          "true",
                                          "[]",
                                          "{}",
                                          "\"F32\"",
                                          "\"BOOL\"",
                                          "\"C64\"",
                                          "\"dtype\":",
                                          "\"shape\":[",
                                          "\"data_offsets\":[0,0]",
                                          "\"__metadata__\":",
                                          std::string(1, '\0'),
                                          "\xff",
                                          "\xc3\xa9",
                                          "/*",
                                          "//",
                                          " ",
                                          "[[[[[[[["};

/// Damages bytes in one of the ways files get damaged, or are damaged on purpose.
class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  std::string mutate(std::string header, std::string data) {
    const int changes = 1 + below(4);
    for (int i = 0; i < changes; ++i) change(header);
    std::string bytes = safetensors_bytes(header, data);
    switch (below(6)) {
      case 0:
        bytes.resize(below(bytes.size() + 1));
        break;
      case 1:
        bytes[below(8)] = static_cast<char>(below(256));
        break;
      case 2:
        bytes += std::string(1 + below(16), 'x');
        break;
      default:
        break;
    }
    return bytes;
  }

 private:
  size_t below(size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random_); }

  void change(std::string& text) {
    if (text.empty()) return;
    const size_t at = below(text.size());
    switch (below(5)) {
      case 0:
        text[at] = static_cast<char>(below(256));
        break;
      case 1:
        text.erase(at, 1 + below(8));
        break;
      case 2:
        text.insert(at, text.substr(below(text.size()), below(60)));
        break;
      case 3:
        text.insert(at, kFragments[below(kFragments.size())]);
        break;
      default:
        replace_number(text, at);
        break;
    }
  }

  /// Numbers are where the dangerous mistakes are: offsets and dimensions.
  void replace_number(std::string& text, size_t at) {
    const size_t start = text.find_first_of("0123456789", at);
    if (start == std::string::npos) return;
    const size_t end = std::min(text.find_first_not_of("0123456789", start), text.size());
    text.replace(start, end - start, below(2) == 0 ? kFragments[below(7)] : std::to_string(below(300)));
  }

  std::mt19937 random_;
};

/// Reads every byte that a file's tensors claim, so that a range out of the mapping would be noticed.
uint64_t touch(const SafetensorsFile& file) {
  uint64_t sum = 0;
  for (const auto& name : file.names()) {
    const auto tensor = file.tensor(name);
    const auto* bytes = static_cast<const unsigned char*>(tensor.data_ptr());
    for (size_t i = 0; i < tensor.nbytes(); ++i) sum += bytes[i];
  }
  return sum;
}

TEST(SafetensorsFuzz, DamagedFilesAreReadOrRefusedAndNeverAnythingElse) {
  TestFolder folder;
  const std::string reference = read_file("tests/data/reference.safetensors");
  const size_t header_bytes = static_cast<unsigned char>(reference[0]) + 256 * static_cast<unsigned char>(reference[1]);
  const std::vector<std::pair<std::string, std::string>> seeds{
      {reference.substr(8, header_bytes), reference.substr(8 + header_bytes)},
      {R"({"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"y":{"dtype":"BOOL","shape":[8],"data_offsets":[24,32]}})",
       std::string(32, '\1')},
      {R"({"__metadata__":{"format":"pt","rank":"4"},"x":{"dtype":"F16","shape":[],"data_offsets":[0,2]}})", "ab"},
  };
  Mutator mutator(20240607);
  int accepted = 0, refused = 0;
  uint64_t sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto& [header, data] = seeds[static_cast<size_t>(round) % seeds.size()];
    const auto path = folder.write("x.safetensors", mutator.mutate(header, data));
    try {
      sum += touch(SafetensorsFile::open(path));
      ++accepted;
    } catch (const FormatError& error) {
      EXPECT_NE(std::string(error.what()).find("x.safetensors: "), std::string::npos) << error.what();
      ++refused;
    }
  }
  EXPECT_EQ(accepted + refused, kRounds);
  EXPECT_GT(accepted, 50);  // or the mutations are too coarse to get past the first checks
  EXPECT_GT(refused, kRounds / 2);
  EXPECT_GT(sum, 0U);
}

}  // namespace
}  // namespace lorikeet

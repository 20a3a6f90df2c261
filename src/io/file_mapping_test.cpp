#include "io/file_mapping.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <vector>

#include "core/errors.h"
#include "io/file_test_support.h"

namespace lorikeet {
namespace {

constexpr size_t kSize = size_t{16} << 20;

/// KiB of files that this process holds in memory.
int64_t mapped_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::stoll(line.substr(8));
  }
  ADD_FAILURE() << "no RssFile in /proc/self/status";
  return 0;
}

TEST(FileMapping, GivesTheBytesAndRefusesWhatIsNoFile) {
  const TestFolder folder;
  const FileMapping mapping(folder.write("a", "some bytes"));
  EXPECT_EQ(std::string(mapping.bytes(), mapping.size()), "some bytes");
  EXPECT_EQ(FileMapping(folder.write("empty", "")).size(), 0u);
  expect_error<FileError>("cannot read", [&] { FileMapping(folder.path() / "none"); });
  expect_error<FileError>("directory", [&] { FileMapping(folder.path()); });
}

TEST(FileMapping, ReleasedPagesAreReadAgain) {
  const TestFolder folder;
  const FileMapping mapping(folder.write("a", std::string(kSize, 'x')));
  EXPECT_EQ(std::count(mapping.bytes(), mapping.bytes() + kSize, 'x'), kSize);
  const auto touched = mapped_kib();
  release_pages(mapping.bytes() + 1, kSize - 2);
  EXPECT_LT(mapped_kib(), touched - static_cast<int64_t>(kSize / 1024 / 2));
  EXPECT_EQ(std::count(mapping.bytes(), mapping.bytes() + kSize, 'x'), kSize);
}

TEST(FileMapping, ReleasesWholePagesOfItsOwnOnly) {
  const TestFolder folder;
  std::vector<char> own(kSize, 'y');
  release_pages(own.data(), own.size());
  EXPECT_EQ(std::count(own.begin(), own.end(), 'y'), kSize);
  const FileMapping mapping(folder.write("a", std::string(4 * 4096, 'x')));
  mapping.bytes()[4095] = 'z';
  release_pages(mapping.bytes() + 1, 3 * 4096);
  EXPECT_EQ(mapping.bytes()[4095], 'z') << "a page that is partly in the range";
  release_pages(mapping.bytes(), 2 * mapping.size());
  EXPECT_EQ(mapping.bytes()[4095], 'z') << "a range that leaves the mapping";
}

}  // namespace
}  // namespace lorikeet

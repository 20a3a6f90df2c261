#include "io/zip_reader.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "io/file_test_support.h"
#include "io/torch_file_test_support.h"

namespace lorikeet {
namespace {

std::string read_all(const ZipFile& zip, const std::string& name) {
  const ZipEntry* entry = zip.find(name);
  if (entry == nullptr) return "(none)";
  std::string bytes(entry->bytes, '\0');
  zip.read(*entry, bytes.data());
  return bytes;
}

TEST(ZipFile, ReadsStoredEntries) {
  TestFolder folder;
  const ZipFile zip(folder.write("x.zip", zip_bytes({{"b", "two"}, {"a", ""}})));
  ASSERT_EQ(zip.entries().size(), 2U);
  EXPECT_EQ(read_all(zip, "b"), "two");
  EXPECT_EQ(read_all(zip, "a"), "");
  EXPECT_EQ(read_all(zip, "c"), "(none)");
}

TEST(ZipFile, ReadsZip64AndComments) {
  TestFolder folder;
  auto bytes = zip_bytes({{"name", "data"}});
  const size_t directory = bytes.find("PK\1\2"), end = bytes.find("PK\5\6");
  auto central = bytes.substr(directory, end - directory);
  central.replace(20, 4, little(UINT32_MAX, 4));
  central.replace(24, 4, little(UINT32_MAX, 4));
  central.replace(42, 4, little(UINT32_MAX, 4));
  central.replace(30, 2, little(4 + 4 + 24 + 4, 2));
  central += little(0x5455, 2) + little(0, 2) + little(1, 2) + little(24, 2) + little(4, 8) + little(4, 8) +
             little(0, 8) + little(7, 2) + little(0, 2);
  const std::string end64 = "PK\6\6" + little(44, 8) + little(45, 2) + little(45, 2) + little(0, 8) + little(1, 8) +
                            little(1, 8) + little(central.size(), 8) + little(directory, 8);
  const std::string locator = "PK\6\7" + little(0, 4) + little(directory + central.size(), 8) + little(1, 4);
  const std::string last = "PK\5\6" + little(0, 4) + little(UINT16_MAX, 2) + little(UINT16_MAX, 2) +
                           little(UINT32_MAX, 4) + little(UINT32_MAX, 4) + little(5, 2) + "hello";
  const ZipFile zip(folder.write("x.zip", bytes.substr(0, directory) + central + end64 + locator + last));
  EXPECT_EQ(read_all(zip, "name"), "data");
}

/// The bytes of a good zip file with `count` bytes from `at` (after `mark`) replaced.
std::string changed(const std::string& mark, size_t at, const std::string& by) {
  auto bytes = zip_bytes({{"name", "data"}, {"other", "more"}});
  return bytes.replace(bytes.find(mark) + at, by.size(), by);
}

TEST(ZipFile, RefusesDamage) {
  TestFolder folder;
  const std::string central = "PK\1\2", end = "PK\5\6";
  const std::vector<std::pair<std::string, std::string>> cases{
      {"no zip file", ""},
      {"no zip file", "hello"},
      {"no zip file", changed(end, 0, "PK\5\7")},
      {"one part of a split", changed(end, 4, little(1, 2))},
      {"has 4294967295 bytes; at most", changed(end, 12, little(UINT32_MAX, 4))},
      {"points at bytes 4294967295", changed(end, 16, little(UINT32_MAX, 4))},
      {"entry 0 of its directory is damaged", changed(end, 16, little(1, 4))},
      {"entry 2 of its directory is damaged", changed(end, 10, little(3, 2))},
      {"entry 0 of its directory is cut short", changed(central, 28, little(60000, 2))},
      {"'name' is encrypted", changed(central, 8, little(1, 2))},
      {"'name' is packed by method 12; expected 0 or 8", changed(central, 10, little(12, 2))},
      {"'name' claims 5 bytes out of 4", changed(central, 24, little(5, 4))},
      {"'name' claims 4 bytes out of 1073741824", changed(central, 20, little(1 << 30, 4))},
      {"'other' is there twice", zip_bytes({{"other", "a"}, {"other", "b"}})},
  };
  for (const auto& [what, bytes] : cases) {
    const auto path = folder.write("x.zip", bytes);
    expect_error<FormatError>(what, [&] { ZipFile zip(path); });
  }
  const std::vector<std::pair<std::string, std::string>> late{
      {"its checksum is another", changed("data", 1, "?")},
      {"its checksum is another", changed(central, 16, little(0, 4))},
      {"no header where it should be", changed(central, 42, little(1, 4))},
      {"points at bytes 4294967295", changed(central, 42, little(UINT32_MAX, 4))},
      {"points at bytes ", changed("PK\3\4", 28, little(UINT16_MAX, 2))},
      {"cannot be unpacked", changed(central, 10, little(8, 2))},
  };
  for (const auto& [what, bytes] : late) {
    const ZipFile zip(folder.write("x.zip", bytes));
    expect_error<FormatError>(what, [&] { read_all(zip, "name"); });
  }
}

}  // namespace
}  // namespace lorikeet

// Zip files that other programs wrote: stored and deflated entries, with and without zip64; torch-free.
// Source: PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lorikeet {

struct ZipEntry {
  std::string name;
  uint64_t packed_bytes = 0;  // in the file
  uint64_t bytes = 0;
  uint64_t header = 0;  // where its local header lies
  uint32_t crc = 0;
  uint16_t method = 0;  // 0 stored, 8 deflated
};

/// An open zip file. Nothing of its entries is held.
class ZipFile {
 public:
  /// Reads the list of entries. Throws FileError when the file cannot be read, FormatError when it is no zip file, a
  /// damaged one, encrypted, split, of more than 100,000 entries, with one name twice, or with an entry that claims
  /// more bytes than its method can give.
  explicit ZipFile(const std::filesystem::path& path);
  ~ZipFile();
  ZipFile(const ZipFile&) = delete;
  ZipFile& operator=(const ZipFile&) = delete;

  uint64_t file_bytes() const { return size_; }
  const std::vector<ZipEntry>& entries() const { return entries_; }
  /// Null where there is no such entry.
  const ZipEntry* find(const std::string& name) const;
  /// Unpacks the entry's `entry.bytes` bytes to `target`. Throws FormatError when they are damaged (CRC-32).
  void read(const ZipEntry& entry, char* target) const;
  /// Where the entry's `entry.packed_bytes` bytes begin. Throws FormatError when they are not within the file.
  uint64_t data_offset(const ZipEntry& entry) const;

 private:
  std::string read_at(uint64_t offset, uint64_t count) const;
  void read_at(uint64_t offset, uint64_t count, char* target) const;
  void read_directory();
  void inflate_at(uint64_t offset, const ZipEntry& entry, char* target) const;
  [[noreturn]] void fail(const std::string& what) const;
  [[noreturn]] void fail_outside(uint64_t offset, uint64_t count) const;

  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  std::vector<ZipEntry> entries_;  // by name
};

}  // namespace lorikeet

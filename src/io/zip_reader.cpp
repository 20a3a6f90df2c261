#include "io/zip_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr uint64_t kMaxEntries = 100'000;
constexpr uint64_t kMaxDirectory = uint64_t{64} << 20;
constexpr uint64_t kMaxRatio = 1032;  // deflate gives at most so many bytes for one
constexpr size_t kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20, kCentralBytes = 46, kLocalBytes = 30;

/// A little-endian number of `count` bytes.
uint64_t number(std::string_view bytes, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) value |= uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return value;
}

/// Numbers that did not fit 32 bits follow in an extra field, in this order, each only where its place holds all ones.
void read_zip64(std::string_view extra, ZipEntry& entry) {
  while (extra.size() >= 4) {
    const uint64_t id = number(extra, 0, 2), length = number(extra, 2, 2);
    if (length > extra.size() - 4) return;
    std::string_view field = extra.substr(4, length);
    extra.remove_prefix(4 + length);
    if (id != 1) continue;
    for (uint64_t* value : {&entry.bytes, &entry.packed_bytes, &entry.header}) {
      if (*value != UINT32_MAX || field.size() < 8) continue;
      *value = number(field, 0, 8);
      field.remove_prefix(8);
    }
  }
}

std::string shown(std::string_view name) {
  std::string text(name.substr(0, 100));
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return "'" + text + "'";
}

}  // namespace

ZipFile::ZipFile(const std::filesystem::path& path) : path_(path.string()) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) throw FileError(str("cannot read ", path_, ": ", std::strerror(errno)));
  try {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
      throw FileError(str("cannot read ", path_, ": it is no regular file"));
    }
    size_ = static_cast<uint64_t>(status.st_size);
    read_directory();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

ZipFile::~ZipFile() { ::close(descriptor_); }

void ZipFile::fail(const std::string& what) const {
  throw FormatError(str(path_, ": ", what), "the file is probably damaged: copy it again");
}

void ZipFile::fail_outside(uint64_t offset, uint64_t count) const {
  fail(str("its zip directory points at bytes ", offset, " to ", offset, " + ", count, "; it has ", size_));
}

void ZipFile::read_at(uint64_t offset, uint64_t count, char* target) const {
  if (offset > size_ || count > size_ - offset) fail_outside(offset, count);
  while (count > 0) {
    const ssize_t got = ::pread(descriptor_, target, std::min<uint64_t>(count, 1 << 30), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      throw FileError(str("cannot read ", path_, ": ", got < 0 ? std::strerror(errno) : "it became shorter"));
    target += got;
    offset += static_cast<uint64_t>(got);
    count -= static_cast<uint64_t>(got);
  }
}

std::string ZipFile::read_at(uint64_t offset, uint64_t count) const {
  if (offset > size_ || count > size_ - offset) fail_outside(offset, count);
  std::string bytes(count, '\0');
  read_at(offset, count, bytes.data());
  return bytes;
}

void ZipFile::read_directory() {
  const uint64_t tail_bytes = std::min<uint64_t>(size_, kEndBytes + UINT16_MAX);  // a comment may follow the end record
  const std::string tail = read_at(size_ - tail_bytes, tail_bytes);
  const size_t end = tail.rfind("PK\5\6");
  if (end == std::string::npos || tail.size() - end < kEndBytes) fail("this is no zip file: it has no end record");
  uint64_t count = number(tail, end + 10, 2), bytes = number(tail, end + 12, 4), offset = number(tail, end + 16, 4);
  if (number(tail, end + 4, 4) != 0) fail("it is one part of a split zip file");
  if (end >= kLocator64Bytes && tail.compare(end - kLocator64Bytes, 4, "PK\6\7") == 0) {
    const std::string end64 = read_at(number(tail, end - kLocator64Bytes + 8, 8), kEnd64Bytes);
    if (!end64.starts_with("PK\6\6")) fail("its zip64 end record is not where it should be");
    count = number(end64, 32, 8);
    bytes = number(end64, 40, 8);
    offset = number(end64, 48, 8);
  }
  if (count > kMaxEntries) fail(str("it has ", count, " entries; at most ", kMaxEntries, " expected"));
  if (bytes > kMaxDirectory) fail(str("its directory has ", bytes, " bytes; at most ", kMaxDirectory, " expected"));
  const std::string directory = read_at(offset, bytes);
  std::string_view rest = directory;
  for (uint64_t i = 0; i < count; ++i) {
    if (rest.size() < kCentralBytes || !rest.starts_with("PK\1\2"))
      fail(str("entry ", i, " of its directory is damaged"));
    const uint64_t name = number(rest, 28, 2), extra = number(rest, 30, 2), comment = number(rest, 32, 2);
    if (name + extra + comment > rest.size() - kCentralBytes) fail(str("entry ", i, " of its directory is cut short"));
    ZipEntry entry;
    entry.name = rest.substr(kCentralBytes, name);
    entry.method = static_cast<uint16_t>(number(rest, 10, 2));
    entry.crc = static_cast<uint32_t>(number(rest, 16, 4));
    entry.packed_bytes = number(rest, 20, 4);
    entry.bytes = number(rest, 24, 4);
    entry.header = number(rest, 42, 4);
    read_zip64(rest.substr(kCentralBytes + name, extra), entry);
    if ((number(rest, 8, 2) & 1) != 0) fail(str("its entry ", shown(entry.name), " is encrypted"));
    if (entry.method != 0 && entry.method != 8) {
      fail(str("its entry ", shown(entry.name), " is packed by method ", entry.method, "; expected 0 or 8"));
    }
    const uint64_t most = entry.method == 0 ? entry.packed_bytes : entry.packed_bytes * kMaxRatio;
    if (entry.packed_bytes > size_ || entry.bytes > most || (entry.method == 0 && entry.bytes != most)) {
      fail(str("its entry ", shown(entry.name), " claims ", entry.bytes, " bytes out of ", entry.packed_bytes));
    }
    entries_.push_back(std::move(entry));
    rest.remove_prefix(kCentralBytes + name + extra + comment);
  }
  std::sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(entries_.begin(), entries_.end(),
                                        [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != entries_.end()) fail(str("its entry ", shown(twice->name), " is there twice"));
}

const ZipEntry* ZipFile::find(const std::string& name) const {
  const auto found = std::lower_bound(entries_.begin(), entries_.end(), name,
                                      [](const ZipEntry& entry, const std::string& key) { return entry.name < key; });
  return found != entries_.end() && found->name == name ? &*found : nullptr;
}

uint64_t ZipFile::data_offset(const ZipEntry& entry) const {
  const std::string local = read_at(entry.header, kLocalBytes);
  if (!local.starts_with("PK\3\4")) fail(str("its entry ", shown(entry.name), " has no header where it should be"));
  const uint64_t offset = entry.header + kLocalBytes + number(local, 26, 2) + number(local, 28, 2);
  if (offset > size_ || entry.packed_bytes > size_ - offset) fail_outside(offset, entry.packed_bytes);
  return offset;
}

void ZipFile::read(const ZipEntry& entry, char* target) const {
  const uint64_t offset = data_offset(entry);
  if (entry.method == 0) {
    read_at(offset, entry.bytes, target);
  } else {
    inflate_at(offset, entry, target);
  }
  uLong crc = ::crc32(0, nullptr, 0);
  for (uint64_t done = 0; done < entry.bytes;) {
    const auto part = static_cast<uInt>(std::min<uint64_t>(entry.bytes - done, 1 << 30));
    crc = ::crc32(crc, reinterpret_cast<const Bytef*>(target) + done, part);
    done += part;
  }
  if (crc != entry.crc) fail(str("its entry ", shown(entry.name), " is damaged: its checksum is another"));
}

void ZipFile::inflate_at(uint64_t offset, const ZipEntry& entry, char* target) const {
  constexpr uint64_t kChunk = 1 << 16;
  z_stream stream{};
  if (::inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw FileError("zlib cannot be started: is there memory left?");
  struct End {
    z_stream* stream;
    ~End() { ::inflateEnd(stream); }
  } end{&stream};
  char nothing = 0;  // zlib wants a place even for no bytes
  uint64_t packed = entry.packed_bytes, left = entry.bytes;
  stream.next_out = reinterpret_cast<Bytef*>(left > 0 ? target : &nothing);
  std::string chunk;
  int result = Z_OK;
  while (result == Z_OK) {
    if (stream.avail_in == 0 && packed > 0) {
      chunk = read_at(offset, std::min(packed, kChunk));
      offset += chunk.size();
      packed -= chunk.size();
      stream.next_in = reinterpret_cast<Bytef*>(chunk.data());
      stream.avail_in = static_cast<uInt>(chunk.size());
    }
    const auto room = static_cast<uInt>(std::min<uint64_t>(left, 1 << 30));
    stream.avail_out = room;
    result = ::inflate(&stream, Z_NO_FLUSH);
    left -= room - stream.avail_out;
  }
  if (result != Z_STREAM_END || left != 0) fail(str("its entry ", shown(entry.name), " cannot be unpacked"));
}

}  // namespace lorikeet

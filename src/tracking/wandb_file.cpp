#include "tracking/wandb_file.h"

#include <zlib.h>

#include <algorithm>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr std::string_view kHeader{":W&B\xE1\xBE\0", 7};
constexpr uint64_t kBlock = 32 * 1024;
constexpr uint64_t kChunkHeader = 7;
enum ChunkType { kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

/// Over a chunk's type and data: plain IEEE CRC-32, not the Castagnoli of LevelDB.
uint32_t chunk_crc(int type, std::string_view data) {
  const auto first = static_cast<Bytef>(type);
  const uLong crc = crc32(0, &first, 1);
  // zlib takes no data for a wish to begin anew.
  if (data.empty()) return static_cast<uint32_t>(crc);
  return static_cast<uint32_t>(crc32(crc, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size())));
}

uint64_t read_little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

/// Bytes of a block behind `position` that are too few for a chunk's header: they stay zero.
uint64_t padding_at(uint64_t position) {
  const uint64_t left = kBlock - position % kBlock;
  return left < kChunkHeader ? left : 0;
}

/// A record as it is written behind `position` bytes of file.
std::string chunks_of(std::string_view record, uint64_t position) {
  std::string out;
  bool first = true, last = false;
  while (!last) {
    out.append(padding_at(position + out.size()), '\0');
    const uint64_t room = kBlock - (position + out.size()) % kBlock - kChunkHeader;
    const std::string_view data = record.substr(0, std::min<uint64_t>(room, record.size()));
    record.remove_prefix(data.size());
    last = record.empty();
    const int type = first ? (last ? kFull : kFirst) : (last ? kLast : kMiddle);
    out += little_endian(chunk_crc(type, data), 4) + little_endian(data.size(), 2) + static_cast<char>(type);
    out += data;
    first = false;
  }
  return out;
}

const std::filesystem::path& checked_new(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (!error && size > 0) throw FileError(str(path.string(), " is there already"));
  return path;
}

}  // namespace

WandbFile::WandbFile(const std::filesystem::path& path) : file_(checked_new(path)) {
  file_.append(kHeader);
  size_ = kHeader.size();
}

void WandbFile::add(int kind, const ProtoMessage& content) {
  const ProtoMessage record = ProtoMessage().add_int(1, records_ + 1).add_message(kind, content);
  const std::string chunks = chunks_of(record.bytes(), size_);
  file_.append(chunks);
  size_ += chunks.size();
  ++records_;
}

WandbReader::WandbReader(std::string bytes) : bytes_(std::move(bytes)), position_(kHeader.size()) {
  if (!bytes_.starts_with(kHeader)) throw FormatError("no .wandb file: it does not begin with its header");
}

std::optional<WandbReader::Chunk> WandbReader::next_chunk() {
  position_ += padding_at(position_);
  if (position_ + kChunkHeader > bytes_.size()) return std::nullopt;
  const std::string_view header = std::string_view(bytes_).substr(position_, kChunkHeader);
  const uint64_t size = read_little_endian(header.substr(4, 2));
  Chunk chunk{static_cast<uint8_t>(header[6]), position_, {}};
  position_ += kChunkHeader;
  if (size > bytes_.size() - position_) return std::nullopt;
  chunk.data = std::string_view(bytes_).substr(position_, size);
  position_ += size;
  if (read_little_endian(header.substr(0, 4)) != chunk_crc(chunk.type, chunk.data)) return std::nullopt;
  return chunk;
}

std::optional<WandbReader::Entry> WandbReader::next() {
  Entry entry;
  for (bool begun = false;; begun = true) {
    const auto chunk = next_chunk();
    const bool expected = chunk && (begun ? chunk->type == kMiddle || chunk->type == kLast
                                          : chunk->type == kFull || chunk->type == kFirst);
    if (!expected) {
      position_ = bytes_.size();  // nothing behind damage is believed
      return std::nullopt;
    }
    if (!begun) entry.offset = chunk->offset;
    entry.record += chunk->data;
    entry.end = position_;
    if (chunk->type == kFull || chunk->type == kLast) return entry;
  }
}

}  // namespace lorikeet

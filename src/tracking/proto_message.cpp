#include "tracking/proto_message.h"

#include <cstring>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {

std::string little_endian(uint64_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

void ProtoMessage::add_varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
  bytes_ += static_cast<char>(value);
}

void ProtoMessage::add_fixed(uint64_t value, int size) { bytes_ += little_endian(value, size); }

ProtoMessage& ProtoMessage::add_int(int field, int64_t value) {
  if (value == 0) return *this;
  add_varint(static_cast<uint64_t>(field) << 3);
  add_varint(static_cast<uint64_t>(value));
  return *this;
}

ProtoMessage& ProtoMessage::add_float(int field, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  add_varint(static_cast<uint64_t>(field) << 3 | 5);
  add_fixed(bits, 4);
  return *this;
}

ProtoMessage& ProtoMessage::add_double(int field, double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  add_varint(static_cast<uint64_t>(field) << 3 | 1);
  add_fixed(bits, 8);
  return *this;
}

ProtoMessage& ProtoMessage::add_bytes(int field, std::string_view value) {
  add_varint(static_cast<uint64_t>(field) << 3 | 2);
  add_varint(value.size());
  bytes_ += value;
  return *this;
}

ProtoMessage& ProtoMessage::add_message(int field, const ProtoMessage& value) { return add_bytes(field, value.bytes_); }

uint64_t ProtoReader::read_varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = static_cast<uint8_t>(take(1)[0]);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  throw FormatError("a protocol buffer message holds a number of more than 64 bits");
}

std::string_view ProtoReader::take(uint64_t size) {
  if (size > rest_.size()) {
    throw FormatError(str("a protocol buffer message ends early: ", rest_.size(), " bytes left of ", size));
  }
  const std::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

std::optional<ProtoField> ProtoReader::next() {
  if (rest_.empty()) return std::nullopt;
  const uint64_t tag = read_varint();
  ProtoField field;
  field.number = static_cast<int>(tag >> 3 & 0x1FFFFFFF);
  const auto fixed = [&](int size) {
    const std::string_view bytes = take(size);
    for (int i = 0; i < size; ++i) field.value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
  };
  switch (tag & 7) {
    case 0:
      field.value = read_varint();
      break;
    case 1:
      fixed(8);
      break;
    case 2:
      field.bytes = take(read_varint());
      break;
    case 5:
      fixed(4);
      break;
    default:
      throw FormatError(str("a protocol buffer message holds a field of unknown type ", tag & 7));
  }
  return field;
}

}  // namespace lorikeet

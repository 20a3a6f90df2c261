// Protocol buffers as bytes: what event files and .wandb files are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lorikeet {

/// One protocol buffer message, field after field.
class ProtoMessage {
 public:
  /// Left out when zero, as proto3 does; the others are written in any case, since readers ask whether they are there.
  ProtoMessage& add_int(int field, int64_t value);
  ProtoMessage& add_float(int field, float value);
  ProtoMessage& add_double(int field, double value);
  ProtoMessage& add_bytes(int field, std::string_view value);
  ProtoMessage& add_message(int field, const ProtoMessage& value);
  const std::string& bytes() const { return bytes_; }

 private:
  void add_varint(uint64_t value);
  void add_fixed(uint64_t value, int size);
  std::string bytes_;
};

struct ProtoField {
  int number = 0;
  uint64_t value = 0;      // of a number, as its bits
  std::string_view bytes;  // of a text or a message
};

/// Reads a message's fields one after another; `bytes` must outlive what is read.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view bytes) : rest_(bytes) {}
  /// The next field, or nothing at the end. Throws FormatError for what is no message.
  std::optional<ProtoField> next();

 private:
  uint64_t read_varint();
  std::string_view take(uint64_t size);
  std::string_view rest_;
};

/// The low `size` bytes of a number, lowest first.
std::string little_endian(uint64_t value, int size);

}  // namespace lorikeet

#include "tracking/event_file.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>

#include "core/text.h"

namespace lorikeet {
namespace {

constexpr uint32_t kReversedCastagnoli = 0x82F63B78;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ kReversedCastagnoli : crc >> 1;
    table[i] = crc;
  }
  return table;
}

/// Checksums are stored rotated and shifted, so that a checksum over data with checksums in it stays meaningful.
uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

std::string little_endian(uint64_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::filesystem::path file_path(const std::filesystem::path& folder) {
  static std::atomic<int> counter{0};
  char host[256] = "localhost";
  ::gethostname(host, sizeof host - 1);
  return folder /
         str("events.out.tfevents.", static_cast<int64_t>(wall_time()), ".", host, ".", ::getpid(), ".", counter++);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = make_crc_table();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) crc = kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xFF] ^ crc >> 8;
  return ~crc;
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

// Field numbers below are those of tensorboard/compat/proto/event.proto and summary.proto.

EventFile::EventFile(const std::filesystem::path& folder) : file_(file_path(folder)) {
  add_event(ProtoMessage().add_bytes(3, "brain.Event:2"));
}

void EventFile::add_value(const ProtoMessage& value, std::optional<int64_t> step) {
  const ProtoMessage summary = ProtoMessage().add_message(1, value);
  add_event(ProtoMessage().add_int(2, step.value_or(0)).add_message(5, summary));
}

void EventFile::add_restart(int64_t step) {
  constexpr int64_t kStart = 1;
  add_event(ProtoMessage().add_int(2, step).add_message(7, ProtoMessage().add_int(1, kStart)));
}

void EventFile::add_event(ProtoMessage event) {
  event.add_double(1, wall_time());
  const std::string& data = event.bytes();
  const std::string length = little_endian(data.size(), 8);
  file_.append(length + little_endian(masked_crc(length), 4) + data + little_endian(masked_crc(data), 4));
}

}  // namespace lorikeet

#include "tracking/event_file.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>

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

#include "hub/server_text.h"

#include <nlohmann/json.hpp>

namespace lorikeet {
namespace {

using nlohmann::json;

constexpr int kDeepest = 64;
constexpr size_t kMostValues = 4'000'000;

struct TooMuch {};

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

std::string printable(std::string text, size_t most) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0U;
    if (c < ' ' || c == 0x7F) text[i] = ' ';
    // U+0080 to U+009F: terminals take U+009B as the beginning of a command, too.
    if (c == 0xC2 && next >= 0x80 && next <= 0x9F) text[i] = text[i + 1] = ' ';
  }
  if (text.size() <= most) return text;
  size_t end = most;
  while (end > 0 && is_continuation(text[end])) --end;
  return text.substr(0, end) + "...";
}

json parse_json(const std::string& text) {
  size_t values = 0;
  const auto count = [&](int depth, json::parse_event_t, json&) {
    if (depth > kDeepest || ++values > kMostValues) throw TooMuch();
    return true;
  };
  try {
    return json::parse(text, count, /*allow_exceptions=*/false);
  } catch (const TooMuch&) {
    return json(json::value_t::discarded);
  }
}

}  // namespace lorikeet

#include "data/caption_text.h"

#include <algorithm>

#include "core/errors.h"
#include "core/text.h"
#include "io/file_range.h"

namespace lorikeet {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// The bytes of the character at the start of `text`, 0 when it is none (RFC 3629, table of well-formed sequences).
size_t character_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const auto follows = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && second < 0xA0, surrogate = first == 0xED && second > 0x9F;
    return follows(1) && follows(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && second < 0x90, beyond = first == 0xF4 && second > 0x8F;
    return follows(1) && follows(2) && follows(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n\v\f";
  const size_t start = text.find_first_not_of(kBlank);
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(kBlank) - start + 1);
}

}  // namespace

int64_t count_characters(std::string_view text) {
  int64_t count = 0;
  for (; !text.empty(); ++count) {
    const size_t bytes = character_bytes(text);
    if (bytes == 0) return -1;
    text.remove_prefix(bytes);
  }
  return count;
}

void check_caption(std::string_view caption, const std::string& where) {
  if (caption.size() > kLongestCaption) {
    throw FormatError(str(where, ": a caption of ", caption.size(), " bytes, at most ", kLongestCaption, " expected"),
                      "a model reads about 77 words of a caption; shorten it");
  }
  if (count_characters(caption) >= 0) return;
  const bool utf16 = caption.starts_with("\xFF\xFE") || caption.starts_with("\xFE\xFF");
  throw FormatError(str(where, ": the caption is not UTF-8", utf16 ? " but UTF-16" : ""),
                    "save the text as UTF-8 in your editor");
}

std::string read_caption_file(const std::filesystem::path& path, const std::string& name) {
  FileRange file(path, 0, -1, name);
  if (file.size() > kLongestCaption) {
    throw FormatError(
        str(name, " has ", file.size(), " bytes, at most ", kLongestCaption, " expected of a caption file"),
        "a caption file holds the text for one picture");
  }
  std::string_view text = file.read(0, kLongestCaption);
  check_caption(text, name);
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    if (!line.empty()) return std::string(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return "";
}

}  // namespace lorikeet

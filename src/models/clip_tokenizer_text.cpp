#include "models/clip_tokenizer_text.h"

#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <array>

#include "models/clip_tokenizer_unicode.h"

namespace lorikeet {
namespace {

bool is_word_character(UChar32 c) {
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

/// Walks over UTF-8, forwards.
class Characters {
 public:
  explicit Characters(std::string_view text) : text_(text) {}
  size_t position() const { return position_; }
  bool done() const { return position_ >= text_.size(); }
  UChar32 peek() const {
    size_t next = position_;
    return read(next);
  }
  UChar32 take() { return read(position_); }

 private:
  UChar32 read(size_t& position) const {
    UChar32 c = 0;
    U8_NEXT_OR_FFFD(text_.data(), position, text_.size(), c);
    return c;
  }
  std::string_view text_;
  size_t position_ = 0;
};

UChar32 last_character(std::string_view text) {
  UChar32 c = 0;
  auto position = static_cast<int32_t>(text.size());
  U8_PREV_OR_FFFD(reinterpret_cast<const uint8_t*>(text.data()), 0, position, c);
  return c;
}

/// The length of the literal or contraction that the text begins with; 0 for none.
size_t literal_length(std::string_view text) {
  static constexpr std::array<std::string_view, 7> kContractions{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  if (!text.starts_with('\'')) return 0;
  for (const auto literal : kContractions) {
    if (text.starts_with(literal)) return literal.size();
  }
  return 0;
}

/// The marker that the text begins with, when it is not one of the added tokens; empty for none.
std::string_view marker_at(std::string_view text) {
  for (const std::string_view marker : {"<|startoftext|>", "<|endoftext|>"}) {
    if (text.starts_with(marker)) return text.substr(0, marker.size());
  }
  return {};
}

size_t run_length(std::string_view text, CharacterKind kind) {
  Characters characters(text);
  while (!characters.done() && character_kind(characters.peek()) == kind) characters.take();
  return characters.position();
}

}  // namespace

std::string normalize_clip_text(std::string_view text) {
  const icu::UnicodeString normal = to_nfc(text);
  icu::UnicodeString result;
  bool in_space = false;
  for (int32_t i = 0; i < normal.length(); i = normal.moveIndex32(i, 1)) {
    const UChar32 c = normal.char32At(i);
    const bool space = u_isUWhiteSpace(c);
    if (space) {
      if (!in_space) result.append(static_cast<UChar32>(' '));
    } else if (c == 0x130) {
      result.append(static_cast<UChar32>('i')).append(static_cast<UChar32>(0x307));  // the one that becomes two
    } else {
      result.append(static_cast<UChar32>(lower_case(static_cast<char32_t>(c))));
    }
    in_space = space;
  }
  std::string utf8;
  return result.toUTF8String(utf8);
}

std::vector<std::string_view> split_clip_words(std::string_view normalized) {
  std::vector<std::string_view> words;
  std::string_view rest = normalized;
  while (!rest.empty()) {
    Characters characters(rest);
    const CharacterKind kind = character_kind(characters.take());
    if (kind == CharacterKind::kSpace) {
      rest.remove_prefix(characters.position());
      continue;
    }
    if (const auto marker = marker_at(rest); !marker.empty()) {
      // The marker is one piece for CLIP's pattern, which the byte-level stage behind it splits again: <| name |>.
      words.insert(words.end(),
                   {marker.substr(0, 2), marker.substr(2, marker.size() - 4), marker.substr(marker.size() - 2)});
      rest.remove_prefix(marker.size());
      continue;
    }
    size_t length = literal_length(rest);
    if (length == 0) length = kind == CharacterKind::kNumber ? characters.position() : run_length(rest, kind);
    words.push_back(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  return words;
}

size_t leading_space(std::string_view text) { return run_length(text, CharacterKind::kSpace); }

size_t trailing_space(std::string_view text) {
  auto start = static_cast<int32_t>(text.size());
  while (start > 0) {
    int32_t before = start;
    UChar32 c = 0;
    U8_PREV_OR_FFFD(reinterpret_cast<const uint8_t*>(text.data()), 0, before, c);
    if (!u_isUWhiteSpace(c)) break;
    start = before;
  }
  return text.size() - static_cast<size_t>(start);
}

bool starts_with_word(std::string_view text) { return !text.empty() && is_word_character(Characters(text).peek()); }

bool ends_with_word(std::string_view text) { return !text.empty() && is_word_character(last_character(text)); }

std::string as_utf8(std::string_view bytes) {
  std::string utf8;
  return icu::UnicodeString::fromUTF8({bytes.data(), static_cast<int32_t>(bytes.size())}).toUTF8String(utf8);
}

std::string strip_like_python(std::string_view text) {
  const auto is_space = [](UChar32 c) { return u_isUWhiteSpace(c) || (c >= 0x1c && c <= 0x1f); };
  auto unicode = icu::UnicodeString::fromUTF8({text.data(), static_cast<int32_t>(text.size())});
  int32_t start = 0, end = unicode.length();
  while (end > 0 && is_space(unicode.char32At(end - 1))) --end;
  while (start < end && is_space(unicode.char32At(start))) ++start;
  std::string utf8;
  return unicode.tempSubStringBetween(start, end).toUTF8String(utf8);
}

}  // namespace lorikeet

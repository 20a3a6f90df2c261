// What CLIP's tokenizer does to text before byte-pair encoding. Free of torch; Unicode data comes from ICU.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lorikeet {

/// NFC, then runs of white space to one space, then each character to lower case by itself (no final-sigma rule).
/// Bytes that are not UTF-8 become U+FFFD.
std::string normalize_clip_text(std::string_view text);

/// The words of normalized text: contractions ('s 't 're 've 'm 'll 'd), runs of letters, single numbers, runs of
/// anything else but white space.
std::vector<std::string_view> split_clip_words(std::string_view normalized);

/// Unicode's White_Space at the start of `text`, in bytes; and at its end.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);
/// Whether text starts or ends with what regular expressions call \w.
bool starts_with_word(std::string_view text);
bool ends_with_word(std::string_view text);

/// The same bytes where they are UTF-8, U+FFFD elsewhere.
std::string as_utf8(std::string_view bytes);
/// Python's str.strip().
std::string strip_like_python(std::string_view text);

}  // namespace lorikeet

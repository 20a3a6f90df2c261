// Characters as the reference tokenizer's libraries know them, each by its own version of Unicode. Free of torch.
#pragma once

#include <unicode/unistr.h>

#include <cstdint>
#include <string_view>

namespace lorikeet {

enum class CharacterKind { kSpace, kLetter, kNumber, kOther };

/// White_Space, \p{L} and \p{N} of Unicode 16, whatever ICU there is.
CharacterKind character_kind(char32_t c);
/// The lower case of one character by itself, by Unicode 17; U+0130, which becomes two, is the caller's.
char32_t lower_case(char32_t c);
/// NFC by Unicode 9: what came later neither composes nor moves.
icu::UnicodeString to_nfc(std::string_view utf8);

}  // namespace lorikeet

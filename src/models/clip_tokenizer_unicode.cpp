#include "models/clip_tokenizer_unicode.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include <string>

#include "core/errors.h"

namespace lorikeet {
namespace {

struct KindRange {
  char32_t first, last;
  CharacterKind kind;
};
constexpr auto kLetter = CharacterKind::kLetter, kNumber = CharacterKind::kNumber;
constexpr int kKindVersion = 16;

/// Letters and numbers that Unicode 15.1 and 16 brought, and that an older ICU does not know.
constexpr KindRange kNewKinds[] = {
    {0x1c89, 0x1c8a, kLetter},   {0xa7cb, 0xa7cd, kLetter},   {0xa7da, 0xa7dc, kLetter},   {0x105c0, 0x105f3, kLetter},
    {0x10d40, 0x10d49, kNumber}, {0x10d4a, 0x10d65, kLetter}, {0x10d6f, 0x10d85, kLetter}, {0x10ec2, 0x10ec4, kLetter},
    {0x11380, 0x11389, kLetter}, {0x1138b, 0x1138b, kLetter}, {0x1138e, 0x1138e, kLetter}, {0x11390, 0x113b5, kLetter},
    {0x113b7, 0x113b7, kLetter}, {0x113d1, 0x113d1, kLetter}, {0x113d3, 0x113d3, kLetter}, {0x116d0, 0x116e3, kNumber},
    {0x11bc0, 0x11be0, kLetter}, {0x11bf0, 0x11bf9, kNumber}, {0x13460, 0x143fa, kLetter}, {0x16100, 0x1611d, kLetter},
    {0x16130, 0x16139, kNumber}, {0x16d40, 0x16d6c, kLetter}, {0x16d70, 0x16d79, kNumber}, {0x18cff, 0x18cff, kLetter},
    {0x1ccf0, 0x1ccf9, kNumber}, {0x1e5d0, 0x1e5ed, kLetter}, {0x1e5f0, 0x1e5f0, kLetter}, {0x1e5f1, 0x1e5fa, kNumber},
    {0x2ebf0, 0x2ee5d, kLetter},
};

struct CaseRange {
  char32_t first, last, lower;
};

/// Capitals that Unicode 16 and 17 brought; `lower` is the lower case of the first.
constexpr CaseRange kNewCapitals[] = {
    {0x1c89, 0x1c89, 0x1c8a},    {0xa7cb, 0xa7cb, 0x264},     {0xa7cc, 0xa7cc, 0xa7cd}, {0xa7ce, 0xa7ce, 0xa7cf},
    {0xa7d2, 0xa7d2, 0xa7d3},    {0xa7d4, 0xa7d4, 0xa7d5},    {0xa7da, 0xa7da, 0xa7db}, {0xa7dc, 0xa7dc, 0x19b},
    {0x10d50, 0x10d65, 0x10d70}, {0x16ea0, 0x16eb8, 0x16ebb},
};

template <class Range, size_t N>
const Range* find_range(const Range (&ranges)[N], char32_t c) {
  for (const auto& range : ranges) {
    if (c >= range.first && c <= range.last) return &range;
  }
  return nullptr;
}

int version_of(char32_t c) {
  UVersionInfo version;
  u_charAge(static_cast<UChar32>(c), version);
  return version[0];
}

const icu::Normalizer2& nfc_of_unicode_9() {
  static const auto made = [] {
    UErrorCode status = U_ZERO_ERROR;
    const auto* nfc = icu::Normalizer2::getNFCInstance(status);
    auto* assigned = new icu::UnicodeSet(u"[:age=9.0:]", status);
    if (U_FAILURE(status)) throw Error(std::string("ICU has no data for normalization: ") + u_errorName(status));
    assigned->freeze();
    return icu::FilteredNormalizer2(*nfc, *assigned);  // keeps references to both for the life of the program
  }();
  return made;
}

}  // namespace

CharacterKind character_kind(char32_t c) {
  const auto code_point = static_cast<UChar32>(c);
  if (u_isUWhiteSpace(code_point)) return CharacterKind::kSpace;
  const uint32_t mask = U_GET_GC_MASK(code_point);
  const bool letter = (mask & U_GC_L_MASK) != 0;
  if (!letter && (mask & U_GC_N_MASK) == 0) {
    const auto* range = (mask & U_GC_CN_MASK) != 0 ? find_range(kNewKinds, c) : nullptr;
    return range != nullptr ? range->kind : CharacterKind::kOther;
  }
  if (c >= 0x80 && version_of(c) > kKindVersion) return CharacterKind::kOther;
  return letter ? kLetter : kNumber;
}

char32_t lower_case(char32_t c) {
  const auto lower = static_cast<char32_t>(u_tolower(static_cast<UChar32>(c)));
  if (lower != c || c < 0x1c89) return lower;
  const auto* range = find_range(kNewCapitals, c);
  return range != nullptr ? range->lower + (c - range->first) : c;
}

icu::UnicodeString to_nfc(std::string_view utf8) {
  if (utf8.size() > 100'000'000) throw UsageError("a text of more than 100 MB cannot be tokenized");
  const icu::StringPiece bytes(utf8.data(), static_cast<int32_t>(utf8.size()));
  UErrorCode status = U_ZERO_ERROR;
  auto normal = nfc_of_unicode_9().normalize(icu::UnicodeString::fromUTF8(bytes), status);
  if (U_FAILURE(status)) throw Error(std::string("ICU cannot normalize a text: ") + u_errorName(status));
  return normal;
}

}  // namespace lorikeet

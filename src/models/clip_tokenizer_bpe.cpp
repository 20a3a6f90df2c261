#include "models/clip_tokenizer_bpe.h"

#include <queue>
#include <tuple>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

uint64_t pair_key(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }

uint32_t id_of_merged(const TokenIds& vocabulary, const std::string& token, size_t rank, const std::string& origin) {
  const auto found = vocabulary.find(token);
  if (found == vocabulary.end()) {
    throw FormatError(
        str(origin, ": merge ", rank + 1, " speaks of the token '", token, "', which is not in the vocabulary"));
  }
  return found->second;
}

}  // namespace

const std::array<std::string, 256>& byte_alphabet() {
  static const auto alphabet = [] {
    std::array<std::string, 256> symbols;
    uint32_t next_unprintable = 256;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      const uint32_t code_point = printable ? byte : next_unprintable++;
      if (code_point < 0x80) {
        symbols[byte] = {static_cast<char>(code_point)};
      } else {
        symbols[byte] = {static_cast<char>(0xc0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3f))};
      }
    }
    return symbols;
  }();
  return alphabet;
}

BytePairEncoder::BytePairEncoder(const TokenIds& vocabulary, const Merges& merges, const std::string& unknown,
                                 const std::string& origin) {
  const auto unknown_id = vocabulary.find(unknown);
  const auto id_or_unknown = [&](const std::string& token) {
    const auto found = vocabulary.find(token);
    if (found != vocabulary.end()) return found->second;
    if (unknown_id != vocabulary.end()) return unknown_id->second;
    throw FormatError(
        str(origin, ": its vocabulary has neither the token '", token, "' nor the unknown token '", unknown, "'"));
  };
  for (size_t byte = 0; byte < 256; ++byte) {
    inner_[byte] = id_or_unknown(byte_alphabet()[byte]);
    last_[byte] = id_or_unknown(byte_alphabet()[byte] + std::string(kWordEnd));
  }
  merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const uint32_t left_id = id_of_merged(vocabulary, left, rank, origin);
    const uint32_t right_id = id_of_merged(vocabulary, right, rank, origin);
    const uint32_t merged_id = id_of_merged(vocabulary, left + right, rank, origin);
    merges_[pair_key(left_id, right_id)] = {static_cast<uint32_t>(rank), merged_id};
  }
}

/// A merge that could be made at a place in the word; the lowest rank, then the leftmost, is made first.
struct BytePairEncoder::Candidate {
  uint32_t rank;
  int position;
  uint32_t id;
  bool operator<(const Candidate& other) const {
    return std::tie(rank, position) > std::tie(other.rank, other.position);  // priority_queue gives the largest
  }
};

std::vector<BytePairEncoder::Symbol> BytePairEncoder::symbols_of(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    const auto byte = static_cast<unsigned char>(word[i]);
    const bool is_last = i + 1 == word.size();
    const int position = static_cast<int>(i);
    symbols.push_back({is_last ? last_[byte] : inner_[byte], position - 1, is_last ? -1 : position + 1, false});
  }
  return symbols;
}

void BytePairEncoder::merge_all(std::vector<Symbol>& symbols) const {
  std::priority_queue<Candidate> queue;
  const auto consider = [&](int left) {
    if (left < 0 || symbols[left].next < 0) return;
    const auto found = merges_.find(pair_key(symbols[left].id, symbols[symbols[left].next].id));
    if (found != merges_.end()) queue.push({found->second.rank, left, found->second.id});
  };
  for (size_t i = 0; i < symbols.size(); ++i) consider(static_cast<int>(i));

  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.position];
    if (left.merged_away || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // The neighbours may have changed since the candidate was found.
    const auto found = merges_.find(pair_key(left.id, right.id));
    if (found == merges_.end() || found->second.id != top.id) continue;
    left.id = top.id;
    left.next = right.next;
    right.merged_away = true;
    if (left.next >= 0) symbols[left.next].previous = top.position;
    consider(left.previous);
    consider(top.position);
  }
}

void BytePairEncoder::encode(std::string_view word, std::vector<int64_t>& ids) const {
  auto symbols = symbols_of(word);
  merge_all(symbols);
  for (const auto& symbol : symbols) {
    if (!symbol.merged_away) ids.push_back(symbol.id);
  }
}

}  // namespace lorikeet

// Byte-pair encoding of one word, over a vocabulary and a ranked list of merges. Free of torch.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lorikeet {

using TokenIds = std::unordered_map<std::string, uint32_t>;
using Merges = std::vector<std::pair<std::string, std::string>>;

/// Marks the last symbol of a word.
inline constexpr std::string_view kWordEnd = "</w>";

/// GPT-2's alphabet: each byte stands for one printable character, given as UTF-8.
const std::array<std::string, 256>& byte_alphabet();

/// Source: the BPE model of https://github.com/huggingface/tokenizers.
class BytePairEncoder {
 public:
  /// `origin` is the file that `merges` came from. Throws FormatError when a merge speaks of a token that the
  /// vocabulary lacks, or when a byte has no token and `unknown` has none either.
  BytePairEncoder(const TokenIds& vocabulary, const Merges& merges, const std::string& unknown,
                  const std::string& origin);

  /// Appends the ids of `word`, any bytes.
  void encode(std::string_view word, std::vector<int64_t>& ids) const;

 private:
  struct Merge {
    uint32_t rank, id;
  };
  struct Symbol {
    uint32_t id;
    int previous, next;
    bool merged_away;
  };
  struct Candidate;
  std::vector<Symbol> symbols_of(std::string_view word) const;
  void merge_all(std::vector<Symbol>& symbols) const;

  std::array<uint32_t, 256> inner_{}, last_{};  // a byte's token inside a word, and at its end
  std::unordered_map<uint64_t, Merge> merges_;  // by both ids
};

}  // namespace lorikeet

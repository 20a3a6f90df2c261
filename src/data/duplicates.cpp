#include "data/duplicates.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "core/errors.h"
#include "io/file_range.h"

namespace lorikeet {
namespace {

constexpr size_t kPiece = size_t{256} << 10;

using Digest = std::array<unsigned char, 32>;

Digest digest_of(FileRange& range) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  Digest digest{};
  bool fine = hash && EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr) == 1;
  for (uint64_t at = 0; fine && at < range.size();) {
    const std::string_view piece = range.read(at, kPiece);
    fine = EVP_DigestUpdate(hash.get(), piece.data(), piece.size()) == 1;
    at += piece.size();
  }
  if (!fine || EVP_DigestFinal_ex(hash.get(), digest.data(), nullptr) != 1) throw Error("OpenSSL cannot hash");
  return digest;
}

/// Nothing when the picture cannot be read: that is reported elsewhere.
template <class Result>
std::optional<Result> try_reading(const PictureRecord& record, Result (*read)(FileRange&)) {
  try {
    FileRange range(record.file, record.offset, record.bytes, record.name);
    return read(range);
  } catch (const FileError&) {
    return std::nullopt;
  }
}

/// Of the pictures at `group`, which have equal size, adds the equal ones to `found`.
void compare(const std::vector<PictureRecord>& records, const std::vector<size_t>& group,
             const std::function<bool()>& stop, std::vector<std::pair<size_t, size_t>>& found) {
  std::map<Digest, size_t> firsts;
  for (const size_t index : group) {
    if (stop && stop()) return;
    const auto digest = try_reading<Digest>(records[index], digest_of);
    if (!digest) continue;
    const auto [first, is_new] = firsts.emplace(*digest, index);
    if (!is_new) found.emplace_back(index, first->second);
  }
}

}  // namespace

std::vector<std::pair<size_t, size_t>> find_duplicates(const std::vector<PictureRecord>& records,
                                                       const std::function<bool()>& stop) {
  std::map<std::tuple<std::filesystem::path, int64_t, int64_t>, size_t> places;
  std::map<uint64_t, std::vector<size_t>> by_size;
  for (size_t i = 0; i < records.size(); ++i) {
    if (stop && stop()) return {};
    if (!places.try_emplace({records[i].file, records[i].offset, records[i].bytes}, i).second) continue;
    const auto size = try_reading<uint64_t>(records[i], [](FileRange& range) { return range.size(); });
    if (size) by_size[*size].push_back(i);
  }
  std::vector<std::pair<size_t, size_t>> found;
  for (const auto& [size, group] : by_size) {
    if (group.size() > 1) compare(records, group, stop, found);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace lorikeet

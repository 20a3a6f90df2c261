#include "hub/cache_verify.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "core/digest.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "hub/hex.h"
#include "hub/tree_cache.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr size_t kPiece = 1 << 20;
constexpr RepoType kTypes[] = {RepoType::kModel, RepoType::kDataset, RepoType::kSpace};

class Verification {
 public:
  explicit Verification(const std::function<void(int64_t)>& progress) : progress_(progress) {}

  void look_at(const CachedRepo& repo, const CachedRevision& revision) {
    const auto listed = etags_of(repo, revision);
    for (const auto& file : revision.files) {
      if (!seen_.insert(file.blob).second) continue;
      // The name of a file that is no link says nothing of its bytes.
      const auto known = listed.find(file.path);
      const std::string copied = known == listed.end() ? "" : known->second;
      look_at(repo, revision, file, file.blob == file.place ? copied : file.blob.filename().string());
    }
  }

  CacheVerdict take() { return std::move(verdict_); }

 private:
  /// By path, where the cache has the commit's listing.
  static std::map<std::string, std::string> etags_of(const CachedRepo& repo, const CachedRevision& revision) {
    std::map<std::string, std::string> etags;
    const auto type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](RepoType one) { return repo_type_name(one) == repo.type; });
    if (type == std::end(kTypes)) return etags;
    const auto files = cached_listing(CacheRepo({repo.id, *type}), revision.commit);
    for (const auto& file : files.value_or(std::vector<RepoFile>{})) {
      etags[file.path] = file.sha256.value_or(file.blob_id);
    }
    return etags;
  }

  void look_at(const CachedRepo& repo, const CachedRevision& revision, const CachedFile& file,
               const std::string& etag) {
    const bool tells = is_hex(etag, 64) || is_hex(etag, 40);
    std::error_code error;
    std::string wrong;
    if (!fs::is_regular_file(file.blob, error)) {
      wrong = "leads nowhere: " + file.blob.string();
    } else if (!tells) {
      ++verdict_.unchecked;
      return;
    } else {
      wrong = read(file, etag);
    }
    if (wrong.empty()) {
      ++verdict_.files;
    } else {
      verdict_.problems.push_back({repo.name(), revision.commit, file.path, wrong});
    }
  }

  /// Empty, or what is wrong.
  std::string read(const CachedFile& file, const std::string& etag) {
    const bool is_large = etag.size() == 64;
    RunningDigest digest(is_large ? RunningDigest::Kind::kSha256 : RunningDigest::Kind::kSha1);
    if (!is_large) digest.update(str("blob ", file.size) + '\0');
    std::ifstream in(file.blob, std::ios::binary);
    std::string piece(kPiece, '\0');
    while (in) {
      stop_if_requested();
      in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
      digest.update({piece.data(), static_cast<size_t>(in.gcount())});
      done_ += in.gcount();
      if (progress_) progress_(done_);
    }
    if (!in.eof()) return "cannot be read";
    const std::string found = digest.hex();
    if (found == etag) return "";
    return str(is_large ? "sha256 " : "git's sha1 ", found, ", ", etag, " was promised");
  }

  const std::function<void(int64_t)>& progress_;
  std::set<fs::path> seen_;
  int64_t done_ = 0;
  CacheVerdict verdict_;
};

}  // namespace

CacheVerdict verify_cached(const std::vector<std::pair<const CachedRepo*, const CachedRevision*>>& revisions,
                           const std::function<void(int64_t done)>& progress) {
  Verification verification(progress);
  for (const auto& [repo, revision] : revisions) {
    verification.look_at(*repo, *revision);
  }
  return verification.take();
}

}  // namespace lorikeet

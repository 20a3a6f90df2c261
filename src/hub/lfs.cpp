#include "hub/lfs.h"

#include <algorithm>
#include <map>
#include <optional>

#include "core/errors.h"
#include "core/text.h"
#include "hub/api_write.h"
#include "hub/hub_error.h"
#include "hub/server_text.h"

namespace lorikeet {
namespace {

using nlohmann::json;

constexpr size_t kFilesPerBatch = 256;
constexpr int64_t kMostParts = 100'000;
constexpr int64_t kLargestPart = int64_t{1} << 40;
constexpr const char* kLfsJson = "application/vnd.git-lfs+json";

[[noreturn]] void refuse(const std::string& what) {
  throw HubError("the Hub's answer to a large file " + what, "is HF_ENDPOINT, where it is set, a Hugging Face Hub?");
}

std::string text_in(const json& object, const std::string& name) {
  return object.is_object() && object.contains(name) && object[name].is_string() ? object[name].get<std::string>() : "";
}

json member(const json& object, const char* name) {
  return object.is_object() && object.contains(name) ? object[name] : json();
}

/// `href` of an action, where the endpoint is.
std::string address(const json& action) {
  const std::string url = text_in(action, "href");
  if (origin_of(url).empty()) refuse("gives no address to send it to");
  return at_endpoint(url);
}

HttpRequest lfs_post(HubClient& client, const std::string& url, const json& body) {
  auto request = client.request("POST", url);
  request.headers.add("Accept", kLfsJson);
  request.headers.add("Content-Type", kLfsJson);
  request.body = body.dump();
  return request;
}

using Sent = std::function<void(const LfsFile& file, int64_t bytes)>;

/// What is to come of one file. Where bytes are sent again, nobody is told until there are more than before.
class Progress {
 public:
  Progress(const LfsFile& file, const Sent& sent) : file_(file), sent_(sent) { tell(0); }
  void tell(int64_t bytes) {
    bytes = std::min(bytes, file_.size);
    if (bytes <= told_) return;
    told_ = bytes;
    if (sent_) sent_(file_, bytes);
  }

 private:
  const LfsFile& file_;
  const Sent& sent_;
  int64_t told_ = -1;
};

/// Sends bytes of the file to an address that is signed; the answer's ETag.
std::string put(HubClient& client, const std::string& url, const LfsFile& file, const FileSlice& slice,
                Progress& progress) {
  auto request = client.request("PUT", url);
  request.token.reset();
  request.redirects = Redirects::kNone;
  request.timeout = slow_timeout();
  request.body_file = slice;
  request.sent = [&](int64_t bytes) { progress.tell(slice.offset + bytes); };
  const auto response = client.send_with_retries(request);
  require_done(response, "send " + file.path + " to the storage");
  return response.headers.find("ETag").value_or("");
}

/// The addresses of all parts, by number.
std::vector<std::string> part_addresses(const json& header, int64_t parts) {
  std::map<int64_t, std::string> found;
  for (const auto& [name, url] : header.items()) {
    if (name.empty() || name.size() > 9 || name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (url.is_string()) found[std::stoll(name)] = url.get<std::string>();
  }
  const bool counts = found.empty() || (found.begin()->first == 1 && found.rbegin()->first == parts);
  if (static_cast<int64_t>(found.size()) != parts || !counts) {
    refuse(str("has ", found.size(), " parts, ", parts, " were expected"));
  }
  std::vector<std::string> addresses;
  for (const auto& [number, url] : found) addresses.push_back(address({{"href", url}}));
  return addresses;
}

/// "100", or 100: bytes of a part, where that is a size at all.
int64_t chunk_size_of(const json& header, int64_t size) {
  const json value = member(header, "chunk_size");
  int64_t chunk = value.is_number_integer() ? value.get<int64_t>() : 0;
  const std::string text = text_in(header, "chunk_size");
  const bool is_number = !text.empty() && text.size() < 16 && text.find_first_not_of("0123456789") == std::string::npos;
  if (is_number) chunk = std::stoll(text);
  if (chunk < 1 || chunk > kLargestPart || size / chunk >= kMostParts) refuse("has a chunk_size that cannot be");
  return chunk;
}

/// The uploads to one repository.
class LfsUploads {
 public:
  LfsUploads(HubClient& client, const HubRepo& repo, const std::string& revision, const Sent& sent)
      : client_(client), repo_(repo), revision_(revision), sent_(sent) {}

  /// What to do with each object, by its sum.
  std::map<std::string, json> ask(const LfsFile* files, size_t count) {
    json objects = json::array();
    for (size_t i = 0; i < count; ++i) objects.push_back({{"oid", files[i].sha256}, {"size", files[i].size}});
    json body = {
        {"operation", "upload"}, {"transfers", {"basic", "multipart"}}, {"objects", objects}, {"hash_algo", "sha256"}};
    if (!revision_.empty()) body["ref"] = {{"name", revision_}};
    const auto response =
        client_.send_with_retries(lfs_post(client_, repo_url(repo_, ".git/info/lfs/objects/batch"), body));
    require_success(response, repo_, revision_);
    std::map<std::string, json> answers;
    for (const auto& object : member(parse_answer(response), "objects")) {
      if (const auto error = member(object, "error"); !error.is_null()) {
        throw HubError(str("the Hub's storage does not take a file: ", printable(text_in(error, "message"))));
      }
      answers[text_in(object, "oid")] = object;
    }
    for (size_t i = 0; i < count; ++i) {
      if (!answers.contains(files[i].sha256)) refuse("does not mention " + files[i].path);
    }
    return answers;
  }

  void upload(const json& actions, const LfsFile& file) {
    const json upload = member(actions, "upload");
    Progress progress(file, sent_);
    if (member(member(upload, "header"), "chunk_size").is_null()) {
      put(client_, address(upload), file, {file.file, 0, file.size}, progress);
    } else {
      upload_in_parts(upload, file, progress);
    }
    progress.tell(file.size);
    const json verify = member(actions, "verify");
    if (verify.is_null()) return;
    const auto response =
        client_.send_with_retries(client_.post(address(verify), {{"oid", file.sha256}, {"size", file.size}}));
    require_done(response, "have " + file.path + " verified");
  }

 private:
  void upload_in_parts(const json& upload, const LfsFile& file, Progress& progress) {
    const int64_t chunk = chunk_size_of(upload["header"], file.size);
    const auto addresses = part_addresses(upload["header"], (file.size + chunk - 1) / chunk);
    json parts = json::array();
    for (size_t i = 0; i < addresses.size(); ++i) {
      const int64_t offset = static_cast<int64_t>(i) * chunk;
      const FileSlice slice{file.file, offset, std::min(chunk, file.size - offset)};
      const std::string etag = put(client_, addresses[i], file, slice, progress);
      if (etag.empty() || !is_utf8(etag)) refuse(str("has no ETag for part ", i + 1, " of ", file.path));
      parts.push_back({{"partNumber", i + 1}, {"etag", etag}});
    }
    auto complete = lfs_post(client_, address(upload), {{"oid", file.sha256}, {"parts", parts}});
    complete.token.reset();  // the address itself is the right to do it
    complete.timeout = slow_timeout();
    const auto response = client_.send_with_retries(complete);
    // Parts can be put together once: a second try is refused when only the first one's answer was lost.
    if (response.status >= 400 && is_there(file)) return;
    require_done(response, "put the parts of " + file.path + " together");
  }

  bool is_there(const LfsFile& file) { return member(ask(&file, 1)[file.sha256], "actions").is_null(); }

  HubClient& client_;
  HubRepo repo_;
  std::string revision_;
  const Sent& sent_;
};

}  // namespace

void upload_lfs_files(HubClient& client, const HubRepo& repo, const std::string& revision,
                      const std::vector<LfsFile>& files,
                      const std::function<void(const LfsFile& file, int64_t bytes)>& sent) {
  LfsUploads uploads(client, repo, revision, sent);
  for (size_t at = 0; at < files.size(); at += kFilesPerBatch) {
    const size_t count = std::min(kFilesPerBatch, files.size() - at);
    auto answers = uploads.ask(&files[at], count);
    for (size_t i = at; i < at + count; ++i) {
      auto& answer = answers[files[i].sha256];
      const json actions = member(answer, "actions");
      if (actions.is_null()) continue;  // the storage has it
      uploads.upload(actions, files[i]);
      answer["actions"] = json();  // the same content under another name goes once
    }
  }
}

}  // namespace lorikeet

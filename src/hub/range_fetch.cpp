#include "hub/range_fetch.h"

#include <algorithm>
#include <charconv>

#include "core/errors.h"
#include "core/text.h"
#include "hub/hub_error.h"
#include "hub/server_text.h"

namespace lorikeet {
namespace {

constexpr const char* kOtherBytes = "the server or a proxy in between is at fault: try again later";

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

/// "bytes 5-9/10": where it starts, and the whole's size where it is told.
struct ContentRange {
  std::optional<int64_t> start, size;
};
ContentRange content_range(const HttpResponse& head) {
  const std::string text = head.headers.find("content-range").value_or("");
  const size_t dash = text.find('-'), slash = text.find('/');
  if (!text.starts_with("bytes ") || dash == std::string::npos || slash == std::string::npos) return {};
  return {number(std::string_view(text).substr(6, dash - 6)), number(std::string_view(text).substr(slash + 1))};
}

/// A signed address of a storage that has run out, or that only the Hub's own answer knew.
bool is_stale_address(int status) { return status == 401 || status == 403 || status == 404 || status == 410; }

class RangeFetch {
 public:
  RangeFetch(const RemoteFile& file, const HttpRequest& request, const ByteRange& range,
             const RangeCallbacks& callbacks)
      : file_(file), request_(request), range_(range), callbacks_(callbacks), at_(range.start) {}

  void run(const RetryPolicy& policy) {
    bool first = !file_.first_url.empty();
    int64_t best = at_;
    for (int failures = 0;;) {
      std::string why;
      double asked = 0;
      try {
        const auto response = callbacks_.send(next_request(first));
        if (first && is_stale_address(response.status)) {
          first = false;
          continue;
        }
        if (is_success(response) && (!range_.end || at_ == *range_.end)) return;
        why = is_success(response) ? came_short() : refusal(response);
        asked = asked_wait(response).value_or(0);
      } catch (const ConnectionError& error) {
        why = error.what();
        if (range_.end && at_ == *range_.end) return;  // only the end of the answer is missing
      }
      first = false;
      if (at_ > best) failures = 0;
      best = std::max(best, at_);
      if (++failures > policy.retries) {
        throw ConnectionError(str(file_.name, ": ", why, " (", policy.retries, " tries in a row)"),
                              "nothing half is kept; run the same command again when the network is better");
      }
      callbacks_.wait(why, std::max(policy.wait_before(failures), asked));
    }
  }

 private:
  static bool is_success(const HttpResponse& response) { return response.status >= 200 && response.status < 300; }

  HttpRequest next_request(bool first) {
    HttpRequest request = request_;
    request.url = first ? file_.first_url : file_.url;
    if (!is_hub_origin(request.url, file_.url)) request.token.reset();
    request.redirects = Redirects::kAll;
    if (!range_.is_whole || at_ > 0) {
      request.headers.add("Range", str("bytes=", at_, "-", range_.end ? str(*range_.end - 1) : ""));
      request.headers.add("Accept-Encoding", "identity");
    }
    begun_ = false;
    request.sink = [this](const HttpResponse& head, std::string_view piece) {
      if (!begun_) begin(head);
      begun_ = true;
      if (range_.end && at_ + static_cast<int64_t>(piece.size()) > *range_.end) {
        throw HubError(str(file_.name, ": more bytes came than the ", *range_.end - range_.start, " promised"),
                       kOtherBytes);
      }
      callbacks_.take(at_, piece);
      at_ += static_cast<int64_t>(piece.size());
    };
    return request;
  }

  void begin(const HttpResponse& head) {
    if (head.status == 206) {
      const auto sent = content_range(head);
      if (sent.start == at_ && (!sent.size || !file_.size || sent.size == file_.size)) return;
      throw HubError(str(file_.name, ": bytes from ", at_, " were asked for, and others came (Content-Range: ",
                         printable(head.headers.find("content-range").value_or("none"), 100), ")"),
                     kOtherBytes);
    }
    if (!range_.is_whole) throw RangeIgnored{};
    if (at_ > 0) callbacks_.restart();
    at_ = 0;
  }

  std::string came_short() const {
    return str(file_.name, ": the answer ended after ", at_ - range_.start, " of ", *range_.end - range_.start,
               " bytes");
  }

  /// Throws unless it is worth another try.
  std::string refusal(const HttpResponse& response) const {
    if (!is_worth_retrying(response.status)) require_success(response, file_.name);
    return str(file_.name, ": the Hub answered ", response.status);
  }

  const RemoteFile& file_;
  const HttpRequest& request_;
  const ByteRange& range_;
  const RangeCallbacks& callbacks_;
  int64_t at_;
  bool begun_ = false;
};

}  // namespace

void fetch_range(const RemoteFile& file, const HttpRequest& request, const ByteRange& range,
                 const RangeCallbacks& callbacks, const RetryPolicy& policy) {
  RangeFetch(file, request, range, callbacks).run(policy);
}

}  // namespace lorikeet

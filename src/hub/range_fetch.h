// A range of a remote file's bytes, over as many requests as it takes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "hub/fetch.h"
#include "hub/retry.h"
#include "hub/transport.h"

namespace lorikeet {

struct ByteRange {
  int64_t start = 0;
  std::optional<int64_t> end = {};  // behind the last byte; unset: not known
  bool is_whole = true;             // all of the file: then the server may send it from the start again
};

struct RangeCallbacks {
  std::function<HttpResponse(const HttpRequest&)> send;
  std::function<void(int64_t offset, std::string_view bytes)> take;
  /// What came so far counts no more: it begins again at 0. For a whole file only.
  std::function<void()> restart = {};
  /// Tells why it is tried again, and waits so many seconds.
  std::function<void(const std::string& why, double seconds)> wait = tell_and_wait;
};

/// The server sent the whole file instead of a part of it.
struct RangeIgnored {};

/// Hands every byte of `range` to `take`, in order. `request` has all but URL, range and sink. The wait grows with
/// every failure in a row; bytes that came end the row. Throws as fetch_file does, and RangeIgnored.
void fetch_range(const RemoteFile& file, const HttpRequest& request, const ByteRange& range,
                 const RangeCallbacks& callbacks, const RetryPolicy& policy);

}  // namespace lorikeet

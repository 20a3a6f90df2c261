// A large file's ranges over several connections at once.
#pragma once

#include "hub/fetch.h"
#include "hub/new_file.h"
#include "hub/transport.h"

namespace lorikeet {

/// Fills `out` and hands its bytes to `in_order`, from the calling thread and in order, as the beginning of the file
/// becomes whole. The size must be known. Throws as fetch_range does, RangeIgnored included.
void fetch_in_parts(const RemoteFile& file, const HttpRequest& request, NewFile& out, const FetchOptions& options,
                    const std::function<void(std::string_view)>& in_order);

}  // namespace lorikeet

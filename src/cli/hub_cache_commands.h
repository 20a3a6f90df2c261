// `lorikeet hub cache ...`: what the Hub's cache on this machine holds.
#pragma once

#include <optional>
#include <string>

#include "core/options.h"

namespace lorikeet {

/// hub cache ls
struct HubCacheLsOptions {
  bool revisions = false;
  std::string sort = "name";
  bool json = false;
};
OptionList fields(HubCacheLsOptions& options);
void hub_cache_ls(const HubCacheLsOptions& options);

/// hub cache rm
struct HubCacheRmOptions {
  TextList targets;
  bool yes = false;
  bool dry_run = false;
};
OptionList fields(HubCacheRmOptions& options);
void hub_cache_rm(const HubCacheRmOptions& options);

/// hub cache prune
struct HubCachePruneOptions {
  bool yes = false;
  bool dry_run = false;
};
OptionList fields(HubCachePruneOptions& options);
void hub_cache_prune(const HubCachePruneOptions& options);

/// hub cache verify
struct HubCacheVerifyOptions {
  std::optional<TextList> targets;
};
OptionList fields(HubCacheVerifyOptions& options);
void hub_cache_verify(const HubCacheVerifyOptions& options);

}  // namespace lorikeet

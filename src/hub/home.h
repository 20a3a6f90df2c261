// The Hugging Face folder of this person's files: tokens, and by default the cache.
#pragma once

#include <filesystem>
#include <string>

namespace lorikeet {

/// $HF_HOME, $XDG_CACHE_HOME/huggingface or ~/.cache/huggingface, the first that is set.
std::filesystem::path hub_home_folder();

/// Python's os.path.expanduser and expandvars, as far as these paths need them: unknown names stay as they are.
std::string expand_path(const std::string& text);

}  // namespace lorikeet

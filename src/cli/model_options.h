// What several commands say about models.
#pragma once

namespace lorikeet {

inline constexpr const char* kSingleFileConfigHelp =
    "For a model in a single file: the folder in Diffusers' layout, or Hub id, that its configs, tokenizer "
    "and scheduler come from. Unset infers the configs and looks for a tokenizer in the cache.";

}  // namespace lorikeet

// What a server sends, before anything believes it: JSON within bounds, words that only are words.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace lorikeet {

/// On one line, without what a terminal takes as a command, and at most `most` bytes, cut between characters.
std::string printable(std::string text, size_t most = 300);

/// Discarded (`is_discarded()`) for what is no JSON, is nested deeper than 64, or has more than four million values:
/// copying and freeing what comes of it is safe then, and takes some hundred megabytes at most.
nlohmann::json parse_json(const std::string& text);

}  // namespace lorikeet

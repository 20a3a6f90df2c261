#include "hub/home.h"

#include <cctype>

#include "hub/environment.h"

namespace lorikeet {
namespace fs = std::filesystem;

fs::path hub_home_folder() {
  if (auto home = environment("HF_HOME")) return expand_path(*home);
  if (auto cache = environment("XDG_CACHE_HOME")) return fs::path(expand_path(*cache)) / "huggingface";
  return fs::path(expand_path("~/.cache")) / "huggingface";
}

std::string expand_path(const std::string& text) {
  std::string out;
  size_t at = 0;
  if (!text.empty() && text[0] == '~' && (text.size() == 1 || text[1] == '/')) {
    if (auto home = environment("HOME")) {
      out = *home;
      at = 1;
    }
  }
  while (at < text.size()) {
    if (text[at] != '$') {
      out += text[at++];
      continue;
    }
    const bool braced = at + 1 < text.size() && text[at + 1] == '{';
    size_t end = at + (braced ? 2 : 1);
    const size_t start = end;
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) || text[end] == '_')) ++end;
    const auto value = end > start ? environment(text.substr(start, end - start).c_str()) : std::nullopt;
    const bool closed = !braced || (end < text.size() && text[end] == '}');
    if (!value || !closed) {
      out += text[at++];
      continue;
    }
    out += *value;
    at = end + (braced ? 1 : 0);
  }
  return out;
}

}  // namespace lorikeet

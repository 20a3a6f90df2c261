#include "hub/model_card.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <sstream>

#include "core/text.h"

namespace lorikeet {
namespace {

constexpr const char* kBlanks = " \t\r";
constexpr const char* kFence = "---";

std::string trimmed(const std::string& text) {
  const size_t start = text.find_first_not_of(kBlanks);
  return start == std::string::npos ? "" : text.substr(start, text.find_last_not_of(kBlanks) - start + 1);
}

/// Whether YAML takes an unquoted word for a number, a date, a truth value or nothing.
bool means_something_else(const std::string& text) {
  std::string low = text;
  std::transform(low.begin(), low.end(), low.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* word : {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}) {
    if (low == word) return true;
  }
  return std::isdigit(static_cast<unsigned char>(text[0])) != 0;
}

bool is_plain(const std::string& text) {
  if (text.empty() || !std::isalnum(static_cast<unsigned char>(text[0])) || text.back() == ' ') return false;
  const auto allowed = [](unsigned char c) { return std::isalnum(c) || (c != '\0' && std::strchr(" _-./+,()<>", c)); };
  return std::all_of(text.begin(), text.end(), allowed) && !means_something_else(text);
}

/// The README's lines, and where its metadata ends: the index of the second fence, or 0 without metadata.
struct Lines {
  std::vector<std::string> lines;
  size_t end = 0;
};

Lines split(const std::string& readme) {
  Lines found;
  std::istringstream in(readme);
  for (std::string line; std::getline(in, line);) found.lines.push_back(line);
  if (found.lines.empty() || trimmed(found.lines[0]) != kFence) return found;
  for (size_t i = 1; i < found.lines.size() && found.end == 0; ++i) {
    if (trimmed(found.lines[i]) == kFence) found.end = i;
  }
  return found;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

/// The line of a key at the left edge, or nothing.
std::optional<size_t> find_key(const Lines& card, const std::string& key) {
  for (size_t i = 1; i < card.end; ++i) {
    if (card.lines[i].starts_with(key + ":")) return i;
  }
  return std::nullopt;
}

std::string unquoted(std::string text) {
  text = trimmed(text);
  const bool quoted = text.size() > 1 && (text[0] == '\'' || text[0] == '"') && text.back() == text[0];
  return quoted ? text.substr(1, text.size() - 2) : text;
}

/// The items of `tags: [a, b]`, `tags: a`, or of the lines `- a` below; `last` becomes the last line of them.
std::vector<std::string> read_tags(const Lines& card, size_t at, size_t& last) {
  std::vector<std::string> tags;
  std::string inline_value = trimmed(card.lines[at].substr(card.lines[at].find(':') + 1));
  last = at;
  if (!inline_value.empty() && inline_value[0] == '[' && inline_value.back() == ']') {
    std::istringstream items(inline_value.substr(1, inline_value.size() - 2));
    for (std::string item; std::getline(items, item, ',');) tags.push_back(unquoted(item));
    return tags;
  }
  if (!inline_value.empty() && inline_value[0] != '#') return {unquoted(inline_value)};
  for (size_t i = at + 1; i < card.end; ++i) {
    const std::string line = trimmed(card.lines[i]);
    if (!line.starts_with("- ") && !line.empty() && line[0] != '#') break;
    if (!line.starts_with("- ")) continue;
    tags.push_back(unquoted(line.substr(2)));
    last = i;
  }
  return tags;
}

std::vector<std::string> tag_lines(const std::vector<std::string>& tags) {
  std::vector<std::string> lines = {"tags:"};
  for (const auto& tag : tags) lines.push_back("- " + yaml_string(tag));
  return lines;
}

void add_missing_tags(Lines& card, const std::vector<std::string>& tags) {
  const auto at = find_key(card, "tags");
  size_t first = card.end, last = card.end;
  std::vector<std::string> all;
  if (at) {
    first = *at;
    all = read_tags(card, *at, last);
    ++last;
  }
  for (const auto& tag : tags) {
    if (std::find(all.begin(), all.end(), tag) == all.end()) all.push_back(tag);
  }
  const auto lines = tag_lines(all);
  const auto begin = card.lines.begin();
  const auto place = card.lines.erase(begin + static_cast<long>(first), begin + static_cast<long>(last));
  card.lines.insert(place, lines.begin(), lines.end());
  card.end += lines.size() - (last - first);
}

}  // namespace

std::string yaml_string(const std::string& text) {
  if (is_plain(text)) return text;
  const auto is_control = [](unsigned char c) { return c < ' ' || c == 0x7F; };
  std::string quoted;
  if (std::none_of(text.begin(), text.end(), is_control)) {
    for (const char c : text) quoted += c == '\'' ? "''" : std::string(1, c);
    return "'" + quoted + "'";
  }
  for (const char c : text) {
    char code[8];
    std::snprintf(code, sizeof code, "\\x%02X", static_cast<unsigned char>(c));
    if (c == '"' || c == '\\') {
      quoted += std::string("\\") + c;
    } else if (is_control(static_cast<unsigned char>(c))) {
      quoted += code;
    } else {
      quoted += c;
    }
  }
  return "\"" + quoted + "\"";
}

std::string model_card_text(const ModelCard& card) {
  std::vector<std::string> lines = {kFence};
  if (card.base_model) lines.push_back("base_model: " + yaml_string(*card.base_model));
  for (const char* line : {"library_name: diffusers", "license: creativeml-openrail-m", "inference: true"}) {
    lines.emplace_back(line);
  }
  if (card.instance_prompt) lines.push_back("instance_prompt: " + yaml_string(*card.instance_prompt));
  const auto tags = tag_lines(card.tags);
  lines.insert(lines.end(), tags.begin(), tags.end());
  lines.insert(lines.end(), {kFence, "", "# " + card.title, "", card.description});
  if (!card.images.empty()) lines.emplace_back("");
  for (size_t i = 0; i < card.images.size(); ++i) lines.push_back(str("![img_", i, "](./", card.images[i], ")"));
  lines.insert(lines.end(), {"", "## Training", "", "```bash", card.command, "```"});
  return joined(lines);
}

std::string with_card_tags(const std::string& readme, const std::vector<std::string>& tags) {
  auto card = split(readme);
  if (card.end == 0) {
    card.lines.insert(card.lines.begin(), {kFence, kFence});
    card.end = 1;
  }
  if (!find_key(card, "library_name")) {
    card.lines.insert(card.lines.begin() + static_cast<long>(card.end), "library_name: diffusers");
    ++card.end;
  }
  add_missing_tags(card, tags);
  return joined(card.lines);
}

}  // namespace lorikeet

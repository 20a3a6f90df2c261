#include "hub/model_card.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string_view>

#include "core/text.h"

namespace lorikeet {
namespace {

constexpr const char* kBlanks = " \t\r";
constexpr const char* kFence = "---";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

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

/// The README's lines, and where its metadata is: between the fences at `start` and `end`, which are 0 without any.
struct Lines {
  std::vector<std::string> lines;
  size_t start = 0, end = 0;
};

Lines split(const std::string& readme) {
  Lines found;
  std::istringstream in(readme);
  for (std::string line; std::getline(in, line);) found.lines.push_back(line);
  size_t at = 0;
  while (at < found.lines.size() && trimmed(found.lines[at]).empty()) ++at;
  if (at == found.lines.size()) return found;
  const bool has_mark = found.lines[at].starts_with(kByteOrderMark);
  if (trimmed(found.lines[at].substr(has_mark ? kByteOrderMark.size() : 0)) != kFence) return found;
  found.start = at;
  for (size_t i = at + 1; i < found.lines.size() && found.end == 0; ++i) {
    if (trimmed(found.lines[i]) == kFence) found.end = i;
  }
  return found;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

void insert(Lines& card, size_t at, const std::vector<std::string>& lines) {
  card.lines.insert(card.lines.begin() + static_cast<long>(at), lines.begin(), lines.end());
  card.end += lines.size();
}

/// The line of a key at the left edge, or nothing.
std::optional<size_t> find_key(const Lines& card, const std::string& key) {
  for (size_t i = card.start + 1; i < card.end; ++i) {
    if (card.lines[i].starts_with(key + ":")) return i;
  }
  return std::nullopt;
}

/// A tag as it stands there: without quotes and without a remark behind it.
std::string tag_of(std::string text) {
  text = trimmed(text.substr(0, text.find(" #")));
  const bool quoted = text.size() > 1 && (text[0] == '\'' || text[0] == '"') && text.back() == text[0];
  return quoted ? text.substr(1, text.size() - 2) : text;
}

std::vector<std::string> missing(const std::vector<std::string>& tags, const std::vector<std::string>& present) {
  std::vector<std::string> found;
  for (const auto& tag : tags) {
    if (std::find(present.begin(), present.end(), tag) == present.end()) found.push_back(tag);
  }
  return found;
}

std::vector<std::string> tag_lines(const std::vector<std::string>& tags, const std::string& indent = "") {
  std::vector<std::string> lines;
  for (const auto& tag : tags) lines.push_back(indent + "- " + yaml_string(tag));
  return lines;
}

/// `tags:` with a line `- tag` for each below.
void add_below(Lines& card, size_t key, const std::vector<std::string>& tags) {
  std::vector<std::string> present;
  std::string indent;
  size_t last = key;
  for (size_t i = key + 1; i < card.end; ++i) {
    const std::string line = trimmed(card.lines[i]);
    if (line.empty() || line[0] == '#') continue;
    if (!line.starts_with("- ")) break;
    indent = card.lines[i].substr(0, card.lines[i].find('-'));
    present.push_back(tag_of(line.substr(2)));
    last = i;
  }
  insert(card, last + 1, tag_lines(missing(tags, present), indent));
}

/// `tags: [a, b]` on one line.
void add_inside(std::string& line, const std::vector<std::string>& tags) {
  const size_t open = line.find('['), close = line.rfind(']');
  std::istringstream items(line.substr(open + 1, close - open - 1));
  std::vector<std::string> present;
  for (std::string item; std::getline(items, item, ',');) present.push_back(tag_of(item));
  if (present.size() == 1 && present[0].empty()) present.clear();
  std::string more;
  for (const auto& tag : missing(tags, present)) {
    more += (present.empty() && more.empty() ? "" : ", ") + yaml_string(tag);
  }
  line.insert(close, more);
}

/// What stands there stays as it is; tags written in a way not known here stay without ours.
void add_missing_tags(Lines& card, const std::vector<std::string>& tags) {
  const auto key = find_key(card, "tags");
  if (!key) {
    insert(card, card.end, {"tags:"});
    return add_below(card, card.end - 1, tags);
  }
  std::string& line = card.lines[*key];
  const std::string value = trimmed(line.substr(line.find(':') + 1));
  if (value.empty() || value[0] == '#') return add_below(card, *key, tags);
  if (value.front() == '[' && value.back() == ']') return add_inside(line, tags);
  if (value == "null" || value == "~") {
    line = "tags:";
    add_below(card, *key, tags);
  } else if (is_plain(value)) {
    line = "tags:";
    insert(card, *key + 1, {"- " + value});
    add_below(card, *key, tags);
  }
}

/// Bytes that YAML wants escaped: how many from `at` on make one, or 0. U+0080 to U+009F are two in UTF-8.
size_t control_at(const std::string& text, size_t at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  if (byte(at) < ' ' || byte(at) == 0x7F) return 1;
  return byte(at) == 0xC2 && byte(at + 1) >= 0x80 && byte(at + 1) <= 0x9F ? 2 : 0;
}

std::string with_escapes(const std::string& text) {
  std::string quoted;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t control = control_at(text, i);
    if (control > 0) {
      i += control - 1;
      char code[8];
      std::snprintf(code, sizeof code, "\\x%02X", static_cast<unsigned char>(text[i]));
      quoted += code;
    } else {
      quoted += (text[i] == '"' || text[i] == '\\' ? "\\" : "") + std::string(1, text[i]);
    }
  }
  return "\"" + quoted + "\"";
}

}  // namespace

std::string card_metadata(const std::string& readme) {
  const Lines card = split(readme);
  if (card.end == 0) return "";
  return joined(
      {card.lines.begin() + static_cast<long>(card.start) + 1, card.lines.begin() + static_cast<long>(card.end)});
}

std::string yaml_string(const std::string& text) {
  if (is_plain(text)) return text;
  for (size_t i = 0; i < text.size(); ++i) {
    if (control_at(text, i) > 0) return with_escapes(text);
  }
  std::string quoted;
  for (const char c : text) quoted += c == '\'' ? "''" : std::string(1, c);
  return "'" + quoted + "'";
}

std::string model_card_text(const ModelCard& card) {
  std::vector<std::string> lines = {kFence};
  if (card.base_model) lines.push_back("base_model: " + yaml_string(*card.base_model));
  for (const char* line : {"library_name: diffusers", "license: creativeml-openrail-m", "inference: true"}) {
    lines.emplace_back(line);
  }
  if (card.instance_prompt) lines.push_back("instance_prompt: " + yaml_string(*card.instance_prompt));
  lines.emplace_back("tags:");
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
    card.start = 0;
    card.end = 1;
  }
  if (!find_key(card, "library_name")) insert(card, card.end, {"library_name: diffusers"});
  add_missing_tags(card, tags);
  return joined(card.lines);
}

}  // namespace lorikeet

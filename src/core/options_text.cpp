#include <sstream>

#include "core/options.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr size_t kWidth = 100;
constexpr size_t kIndent = 8;

std::string placeholder(const Option& option) {
  const std::string type = option.type();
  if (type == "flag") return "";
  if (type == "int") return "=N";
  if (type == "float") return "=X";
  return type == "list" ? " TEXT..." : "=TEXT";
}

/// "required", "default 512; a multiple of 8, at least 8", "default none"; empty for a plain flag.
std::string facts(const Option& option) {
  if (option.is_flag()) return "";
  std::string text = option.is_required() ? "required" : "default " + option.default_text();
  if (const std::string constraint = option.constraint(); !constraint.empty()) text += "; " + constraint;
  return text;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '|' || c == '<') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::string wrap_text(const std::string& text, size_t indent) {
  const std::string margin(indent, ' ');
  std::istringstream words(text);
  std::string out, line = margin;
  for (std::string word; words >> word;) {
    if (line.size() > indent && line.size() + 1 + word.size() > kWidth) {
      out += line + "\n";
      line = margin;
    }
    if (line.size() > indent) line += ' ';
    line += word;
  }
  return out + line + "\n";
}

std::string OptionList::positional_usage() const {
  std::string out;
  for (const Option& option : options_) {
    if (option.is_positional()) out += " " + option.shown_name();
  }
  return out;
}

std::string OptionList::help_text() const {
  std::string out, group;
  for (const Option& option : options_) {
    if (option.group() != group) {
      group = option.group();
      out += "\n" + group + ":\n";
    }
    out += "  " + option.shown_name() + (option.is_positional() ? "" : placeholder(option));
    if (const std::string known = facts(option); !known.empty()) out += "  (" + known + ")";
    out += "\n" + wrap_text(option.help(), kIndent);
  }
  return out;
}

std::string OptionList::markdown() const {
  std::string out, group;
  for (const Option& option : options_) {
    if (option.group() != group) {
      group = option.group();
      out += "\n## " + group + "\n\n| Option | Type | Default | Meaning |\n|---|---|---|---|\n";
    }
    const std::string constraint = option.constraint();
    const std::string initial = option.is_required() ? "**required**" : "`" + option.default_text() + "`";
    out += "| `" + option.shown_name() + "` | " + option.type() + " | " + initial + " | " + escaped(option.help());
    if (!constraint.empty()) out += " (" + constraint + ")";
    out += " |\n";
  }
  return out;
}

std::string OptionList::contract(const std::string& prefix) const {
  std::string out;
  for (const Option& option : options_) {
    const std::string initial = option.is_required() ? "required" : option.default_text();
    const std::string constraint = option.constraint();
    out += str(prefix, " ", option.is_positional() ? option.shown_name() : "--" + option.name(), " ", option.type(),
               " ", initial);
    out += constraint.empty() ? "\n" : str(" [", constraint, "]\n");
  }
  return out;
}

}  // namespace lorikeet

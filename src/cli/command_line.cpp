#include "cli/command_line.h"

#include <algorithm>
#include <cctype>
#include <cstring>

namespace lorikeet {
namespace {

/// The words of a list.
TextList words_of(const Option& option) {
  if (const auto* list = std::get_if<TextList*>(&option.target())) return **list;
  if (const auto* list = std::get_if<std::optional<TextList>*>(&option.target())) return (*list)->value_or(TextList{});
  return {};
}

std::string as_given(const Option& option) {
  const std::string flag = "--" + option.name();
  if (option.is_flag()) return flag;
  if (!option.is_list()) return flag + "=" + shell_word(option.value_text());
  std::string text = flag;
  for (const auto& word : words_of(option)) text += " " + shell_word(word);
  return text;
}

}  // namespace

std::string shell_word(const std::string& word) {
  const auto is_plain = [](unsigned char c) { return std::isalnum(c) || (c != '\0' && std::strchr("_-./:=,@%+", c)); };
  if (!word.empty() && std::all_of(word.begin(), word.end(), is_plain)) return word;
  std::string quoted;
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return "'" + quoted + "'";
}

std::string command_line(const std::string& name, const OptionList& list, const OptionList& defaults) {
  std::string text = "lorikeet " + name;
  for (size_t i = 0; i < list.options().size(); ++i) {
    const auto& option = list.options()[i];
    const bool is_same = option.value_text() == defaults.options()[i].value_text();
    if (is_same || option.is_secret() || option.is_command_line_only()) continue;
    text += " \\\n  " + as_given(option);
  }
  return text;
}

}  // namespace lorikeet

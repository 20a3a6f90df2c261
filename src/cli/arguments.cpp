#include "cli/arguments.h"

#include <map>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

bool is_name(const std::string& word) { return word.size() > 2 && word.starts_with("--"); }

const Option& match(const OptionList& list, const std::string& name) {
  if (const Option* exact = list.find(name)) return *exact;
  TextList longer;
  for (const Option& option : list.options()) {
    if (option.name().starts_with(name)) longer.push_back(option.name());
  }
  if (longer.size() < 2) return list.at(longer.empty() ? name : longer.front());
  std::string names;
  for (const auto& candidate : longer) names += " --" + candidate;
  throw UsageError(str("--", name, " may mean several options:", names), "write the name out");
}

/// Reads options one by one off the front of `words`.
class Reader {
 public:
  Reader(const TextList& words, const OptionList& list) : words_(words), list_(list) {}

  bool done() const { return next_ == words_.size(); }
  bool at_help() const { return words_[next_] == "--help" || words_[next_] == "-h"; }

  /// The option that begins here and its values; a flag without one has none.
  std::pair<const Option*, TextList> take() {
    const std::string& word = words_[next_++];
    if (const Option* option = by_letter(word)) return {option, option->is_flag() ? TextList{} : take_values(*option)};
    if (const Option* option = is_name(word) || word.starts_with("-") ? nullptr : next_positional()) {
      return {option, {word}};
    }
    if (!is_name(word)) {
      throw UsageError(str("an option expected, found '", word, "'"),
                       "options begin with --; put quotes around a value with spaces in it");
    }
    const size_t equals = word.find('=');
    const Option& option = match(list_, word.substr(2, equals == std::string::npos ? equals : equals - 2));
    if (equals != std::string::npos) return {&option, {word.substr(equals + 1)}};
    if (option.is_flag()) return {&option, {}};
    return {&option, take_values(option)};
  }

 private:
  TextList take_values(const Option& option) {
    TextList values;
    while (!done() && !is_name(words_[next_]) && !by_letter(words_[next_]) && (values.empty() || option.is_list())) {
      values.push_back(words_[next_++]);
    }
    if (values.empty()) {
      throw UsageError(str("--", option.name(), ": a value expected, found ", done() ? "none" : words_[next_]),
                       str("write --", option.name(), "=VALUE"));
    }
    return values;
  }

  const Option* by_letter(const std::string& word) const {
    if (word.size() != 2 || word[0] != '-') return nullptr;
    for (const Option& option : list_.options()) {
      if (option.short_letter() == word[1]) return &option;
    }
    return nullptr;
  }

  /// The first that has no value yet; a list never has enough.
  const Option* next_positional() {
    size_t place = 0;
    for (const Option& option : list_.options()) {
      if (!option.is_positional() || place++ < positionals_) continue;
      if (!option.is_list()) ++positionals_;
      return &option;
    }
    return nullptr;
  }

  const TextList& words_;
  const OptionList& list_;
  size_t next_ = 0, positionals_ = 0;
};

}  // namespace

bool parse_arguments(const TextList& arguments, const OptionList& list) {
  std::map<const Option*, TextList> given;
  for (Reader reader(arguments, list); !reader.done();) {
    if (reader.at_help()) return false;
    auto [option, values] = reader.take();
    TextList& all = given[option];
    if (!option->is_list()) all.clear();
    all.insert(all.end(), values.begin(), values.end());
  }
  if (const Option* config = list.find("config"); config != nullptr && given.contains(config)) {
    config->assign(given[config]);
    list.read_config(config->value_text());
  }
  for (const auto& [option, values] : given) option->assign(values);
  return true;
}

}  // namespace lorikeet

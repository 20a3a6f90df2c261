#include "core/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>
#include <type_traits>
#include <utility>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

constexpr const char* kUnset = "none";

/// The shortest text that reads back as the same double, spelled as Python does: 1.0, 0.0005, 1e-08.
std::string number_text(double value) {
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  char buffer[32];
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr);
  if (text.find_first_of(".einf") == std::string::npos) text += ".0";
  return text;
}

std::string bound_text(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15 ? str(static_cast<int64_t>(value)) : number_text(value);
}

std::string join(const TextList& items, const char* between) {
  std::string text;
  for (const auto& item : items) {
    if (!text.empty()) text += between;
    text += item;
  }
  return text;
}

std::string value_to_text(bool value) { return value ? "true" : "false"; }
std::string value_to_text(int64_t value) { return str(value); }
std::string value_to_text(double value) { return number_text(value); }
std::string value_to_text(const std::string& value) { return value.empty() ? kUnset : value; }
std::string value_to_text(const TextList& value) { return value.empty() ? kUnset : join(value, " "); }
template <class T>
std::string value_to_text(const std::optional<T>& value) {
  return value ? value_to_text(*value) : kUnset;
}

[[noreturn]] void refuse(const Option& option, const std::string& value, const std::string& expected) {
  throw UsageError(str("--", option.name(), ": ", expected, " expected, found '", value, "'"),
                   str("`--help` describes --", option.name()));
}

template <class Number>
Number parse_number(const Option& option, const std::string& text, const char* expected) {
  Number value{};
  // Python's int() and float() take a leading plus sign, from_chars does not.
  const char* begin = text.data() + (text.size() > 1 && text[0] == '+' && text[1] != '-' ? 1 : 0);
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error == std::errc::result_out_of_range) refuse(option, text, str(expected, " of a representable size"));
  if (error != std::errc{} || stop != end || begin == end) refuse(option, text, expected);
  return value;
}

const std::string& only_value(const Option& option, const TextList& values) {
  if (values.size() != 1) refuse(option, join(values, " "), "one value");
  return values.front();
}

void parse(const Option& option, const TextList& values, bool& member) {
  const std::string text = values.empty() ? "true" : only_value(option, values);
  if (text != "true" && text != "false") refuse(option, text, "no value, or true or false");
  member = text == "true";
}
void parse(const Option& option, const TextList& values, int64_t& member) {
  member = parse_number<int64_t>(option, only_value(option, values), "a whole number");
}
void parse(const Option& option, const TextList& values, double& member) {
  const std::string& text = only_value(option, values);
  member = parse_number<double>(option, text, "a number");
  if (!std::isfinite(member)) refuse(option, text, "a finite number");
}
void parse(const Option& option, const TextList& values, std::string& member) { member = only_value(option, values); }
void parse(const Option& option, const TextList& values, TextList& member) {
  if (values.empty()) refuse(option, "", "one or more values");
  member = values;
}
template <class T>
void parse(const Option& option, const TextList& values, std::optional<T>& member) {
  T value{};
  parse(option, values, value);
  member = std::move(value);
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

Option::Option(std::string group, std::string name, Target target, std::string help)
    : group_(std::move(group)), name_(std::move(name)), help_(std::move(help)), target_(target) {
  default_text_ = value_text();
}

Option& Option::required() {
  required_ = true;
  return *this;
}
Option& Option::choices(TextList allowed) {
  choices_ = std::move(allowed);
  return *this;
}
Option& Option::at_least(double low) {
  low_ = Bound{low, true};
  return *this;
}
Option& Option::above(double low) {
  low_ = Bound{low, false};
  return *this;
}
Option& Option::at_most(double high) {
  high_ = Bound{high, true};
  return *this;
}
Option& Option::below(double high) {
  high_ = Bound{high, false};
  return *this;
}
Option& Option::multiple_of(int64_t unit) {
  unit_ = unit;
  return *this;
}
Option& Option::secret() {
  secret_ = true;
  return *this;
}
Option& Option::positional() {
  positional_ = true;
  return *this;
}
Option& Option::short_name(char letter) {
  short_ = letter;
  return *this;
}
Option& Option::command_line_only() {
  command_line_only_ = true;
  return *this;
}

bool Option::is_list() const {
  return std::holds_alternative<TextList*>(target_) || std::holds_alternative<std::optional<TextList>*>(target_);
}

bool Option::is_number() const { return type() == "int" || type() == "float"; }

std::string Option::shown_name() const {
  if (!positional_) return (short_ == '\0' ? "" : str("-", short_, ", ")) + "--" + name_;
  std::string name = name_;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  return is_list() ? name + "..." : name;
}

std::string Option::type() const {
  static constexpr const char* kTypes[] = {"flag", "int", "float", "str", "list", "int", "float", "str", "list"};
  return kTypes[target_.index()];
}

std::string Option::value_text() const {
  return std::visit([](auto* member) { return value_to_text(*member); }, target_);
}

std::string Option::constraint() const {
  if (!choices_.empty()) return "one of " + join(choices_, ", ");
  TextList parts;
  if (unit_ > 1) parts.push_back(str("a multiple of ", unit_));
  if (low_) parts.push_back((low_->inclusive ? "at least " : "above ") + bound_text(low_->value));
  if (high_) parts.push_back((high_->inclusive ? "at most " : "below ") + bound_text(high_->value));
  return join(parts, ", ");
}

void Option::assign(const TextList& values) const {
  std::visit([&](auto* member) { parse(*this, values, *member); }, target_);
}

void Option::check_number(double value) const {
  const bool low_ok = !low_ || (low_->inclusive ? value >= low_->value : value > low_->value);
  const bool high_ok = !high_ || (high_->inclusive ? value <= high_->value : value < high_->value);
  const bool unit_ok = unit_ == 1 || std::fmod(value, static_cast<double>(unit_)) == 0;
  if (!std::isfinite(value)) refuse(*this, value_text(), "a finite number");
  if (!low_ok || !high_ok || !unit_ok) refuse(*this, value_text(), constraint());
}

void Option::check_choice(const std::string& value) const {
  if (choices_.empty() || std::find(choices_.begin(), choices_.end(), value) != choices_.end()) return;
  const std::string near = nearest_name(value, choices_);
  throw UsageError(str("--", name_, ": ", constraint(), " expected, found '", value, "'"),
                   near.empty() ? str("`--help` describes --", name_) : str("did you mean --", name_, "=", near, "?"));
}

void Option::check() const {
  if (required_ && value_text() == kUnset) {
    if (positional_) throw UsageError(str(shown_name(), " is required"), "`--help` shows where it goes");
    throw UsageError(str("--", name_, " is required"), str("give --", name_, "=..., or put it into a --config file"));
  }
  const auto check_value = [this](const auto& value) {
    using T = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double>) check_number(static_cast<double>(value));
    if constexpr (std::is_same_v<T, std::string>) check_choice(value);
  };
  std::visit(
      [&](auto* member) {
        if constexpr (requires { member->has_value(); }) {
          if (member->has_value()) check_value(**member);
        } else {
          check_value(*member);
        }
      },
      target_);
}

const Option* OptionList::find(std::string_view name) const {
  const auto found =
      std::find_if(options_.begin(), options_.end(), [&](const Option& option) { return option.name() == name; });
  return found == options_.end() ? nullptr : &*found;
}

const Option& OptionList::at(std::string_view name) const {
  if (const Option* option = find(name)) return *option;
  TextList names;
  for (const Option& option : options_) names.push_back(option.name());
  const std::string near = nearest_name(name, names);
  throw UsageError(str("unknown option --", name),
                   near.empty() ? "`--help` lists all options" : str("did you mean --", near, "?"));
}

void OptionList::check() const {
  for (const Option& option : options_) option.check();
}

std::string nearest_name(std::string_view name, const TextList& candidates) {
  std::string best;
  // Beyond a third of its letters wrong, a name is another name, not a misspelling; swapped letters count as two.
  size_t best_distance = std::min(std::max<size_t>(2, name.size() / 3) + 1, name.size());
  for (const auto& candidate : candidates) {
    const size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace lorikeet

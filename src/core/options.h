// One list of fields per options struct drives its flags, `--help`, config file, JSON, validation and reference page.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lorikeet {

using TextList = std::vector<std::string>;

/// One option: a pointer to a struct's member and everything that is known about it. A std::optional member is
/// one that may stay unset. A std::string member left empty counts as not given.
class Option {
 public:
  using Target = std::variant<bool*, int64_t*, double*, std::string*, TextList*, std::optional<int64_t>*,
                              std::optional<double>*, std::optional<std::string>*, std::optional<TextList>*>;

  Option(std::string group, std::string name, Target target, std::string help);

  /// Constraints, checked by `check()`; each returns the option itself, to be chained.
  Option& required();
  Option& choices(TextList allowed);
  Option& at_least(double low);
  Option& above(double low);
  Option& at_most(double high);
  Option& below(double high);
  Option& multiple_of(int64_t unit);
  /// The value is shown to nobody: JSON says null.
  Option& secret();
  /// Given by its place, without a name: `lora inspect FILE`. A list takes all that are left.
  Option& positional();
  /// `-o` beside `--output`.
  Option& short_name(char letter);
  /// Known, but not ours to read from a config file or to write to JSON (`--config`, `--dry_run`).
  Option& command_line_only();

  const std::string& group() const { return group_; }
  const std::string& name() const { return name_; }
  const std::string& help() const { return help_; }
  bool is_required() const { return required_; }
  bool is_secret() const { return secret_; }
  bool is_command_line_only() const { return command_line_only_; }
  bool is_positional() const { return positional_; }
  char short_letter() const { return short_; }
  bool is_flag() const { return std::holds_alternative<bool*>(target_); }
  bool is_list() const;
  bool is_number() const;
  const Target& target() const { return target_; }

  /// "--name", "-o, --output", or "FILE" for what is given by its place.
  std::string shown_name() const;
  /// flag, int, float, str or list.
  std::string type() const;
  /// The value the member held when the list was made, spelled as on a command line; "none" when unset.
  const std::string& default_text() const { return default_text_; }
  /// The member's value now, spelled likewise.
  std::string value_text() const;
  /// "a multiple of 8, at least 8", or "one of no, fp16, bf16"; empty without constraints.
  std::string constraint() const;

  /// Reads the member from text. Throws UsageError naming option, value and what was expected.
  void assign(const TextList& values) const;
  /// Throws UsageError when the member's value breaks a constraint.
  void check() const;

 private:
  struct Bound {
    double value;
    bool inclusive;
  };
  void check_number(double value) const;
  void check_choice(const std::string& value) const;

  std::string group_, name_, help_, default_text_;
  Target target_;
  TextList choices_;
  std::optional<Bound> low_, high_;
  int64_t unit_ = 1;
  bool required_ = false, secret_ = false, command_line_only_ = false, positional_ = false;
  char short_ = '\0';
};

/// The options of one struct, in the order in which they are shown. It points into the struct, which must outlive it.
class OptionList {
 public:
  /// Options added from here on are shown under this heading.
  void group(std::string heading) { group_ = std::move(heading); }
  /// The reference lasts until the next call: chain the constraints.
  Option& add(std::string name, Option::Target member, std::string help) {
    return options_.emplace_back(group_, std::move(name), member, std::move(help));
  }

  const std::vector<Option>& options() const& { return options_; }
  const std::vector<Option>& options() const&& = delete;
  /// nullptr when there is no such option.
  const Option* find(std::string_view name) const;
  /// Throws UsageError with the nearest name as a hint.
  const Option& at(std::string_view name) const;

  /// Checks every option by itself; what concerns several at once is the struct's own `validate`.
  void check() const;

  /// " FILE OTHER..." for the line that shows how a command is used.
  std::string positional_usage() const;
  /// The options in their groups, for `--help`.
  std::string help_text() const;
  /// The same as Markdown, for docs/cli.
  std::string markdown() const;
  /// One line per option: `PREFIX --name type default [constraint]`.
  std::string contract(const std::string& prefix) const;

  /// All values as one JSON object, by name and in order; unset and secret ones are null.
  std::string to_json() const;
  /// Sets what the text names; a JSON object or a TOML document of `name = value`.
  /// `origin` names the text in errors. Throws UsageError for unknown names and for values of the wrong type.
  void read_json(const std::string& text, const std::string& origin) const;
  void read_toml(const std::string& text, const std::string& origin) const;
  /// Reads a file by its extension, .json or .toml. Throws FileError, UsageError.
  void read_config(const std::string& path) const;

 private:
  std::string group_;
  std::vector<Option> options_;
};

/// `text` in lines of at most 100 columns, each begun by `indent` blanks and ended.
std::string wrap_text(const std::string& text, size_t indent);

/// The member of `candidates` that `name` is most likely a misspelling of; empty when none is near.
std::string nearest_name(std::string_view name, const TextList& candidates);

}  // namespace lorikeet

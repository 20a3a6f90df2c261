#include <toml++/toml.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <type_traits>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/options.h"
#include "core/text.h"

namespace lorikeet {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLargestConfig = size_t{1} << 20;

template <class T>
Json value_to_json(const T& value) {
  return value;
}
template <class T>
Json value_to_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::string expected_kind(const Option& option) {
  const std::string type = option.type();
  if (type == "flag") return "true or false";
  if (type == "int") return "a whole number";
  if (type == "float") return "a number";
  return type == "list" ? "a list of texts" : "a text";
}

bool is_text_list(const Json& value) {
  if (!value.is_array()) return false;
  for (const Json& item : value) {
    if (!item.is_string()) return false;
  }
  return true;
}

bool has_right_kind(const Option& option, const Json& value) {
  const std::string type = option.type();
  if (type == "flag") return value.is_boolean();
  if (type == "int") return value.is_number_integer();
  if (type == "float") return value.is_number();
  return type == "list" ? is_text_list(value) : value.is_string();
}

/// null unsets what may be unset, as JSON written by `to_json` needs it to be read back.
bool unset(const Option& option) {
  return std::visit(
      [](auto* member) {
        if constexpr (requires { member->reset(); }) {
          member->reset();
          return true;
        } else {
          return false;
        }
      },
      option.target());
}

void read_value(const Option& option, const Json& value, const std::string& origin) {
  if (value.is_null() && unset(option)) return;
  if (!has_right_kind(option, value)) {
    throw UsageError(str(origin, ": ", option.name(), ": ", expected_kind(option), " expected, found ", value.dump()));
  }
  TextList texts;
  if (value.is_array()) {
    texts = value.get<TextList>();
  } else {
    texts = {value.is_string() ? value.get<std::string>() : value.dump()};
  }
  try {
    option.assign(texts);
  } catch (const UsageError& error) {
    throw UsageError(str(origin, ": ", error.what()), error.hint());
  }
}

void read_object(const OptionList& list, const Json& object, const std::string& origin) {
  for (const auto& [name, value] : object.items()) {
    const Option* option = list.find(name);
    if (option != nullptr && option->is_command_line_only()) {
      throw UsageError(str(origin, ": --", name, " belongs on the command line"),
                       str("remove ", name, " from ", origin));
    }
    if (option == nullptr) {
      try {
        list.at(name);
      } catch (const UsageError& error) {
        throw UsageError(str(origin, ": ", error.what()), error.hint());
      }
    }
    read_value(*option, value, origin);
  }
}

Json toml_to_json(const toml::node& node, const std::string& origin) {
  if (const auto* value = node.as_boolean()) return value->get();
  if (const auto* value = node.as_integer()) return value->get();
  if (const auto* value = node.as_floating_point()) return value->get();
  if (const auto* value = node.as_string()) return value->get();
  if (const auto* array = node.as_array()) {
    Json items = Json::array();
    for (const toml::node& item : *array) items.push_back(toml_to_json(item, origin));
    return items;
  }
  throw UsageError(str(origin, ", line ", node.source().begin.line, ": a plain value expected, found a ",
                       node.is_table() ? "table" : "date or time"),
                   "write `name = value` lines without [headings]");
}

}  // namespace

std::string OptionList::to_json() const {
  Json object = Json::object();
  for (const Option& option : options_) {
    if (option.is_command_line_only()) continue;
    Json value = std::visit([](auto* member) { return value_to_json(*member); }, option.target());
    object[option.name()] = option.is_secret() ? Json(nullptr) : std::move(value);
  }
  return object.dump(2, ' ', false, Json::error_handler_t::replace);
}

void OptionList::read_json(const std::string& text, const std::string& origin) const {
  Json object;
  try {
    object = Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw UsageError(str(origin, ": not JSON: ", error.what()));
  }
  if (!object.is_object()) throw UsageError(str(origin, ": a JSON object expected, found ", object.type_name()));
  read_object(*this, object, origin);
}

void OptionList::read_toml(const std::string& text, const std::string& origin) const {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw UsageError(str(origin, ", line ", error.source().begin.line, ": not TOML: ", error.description()));
  }
  Json object = Json::object();
  for (const auto& [name, node] : table) object[std::string(name.str())] = toml_to_json(node, origin);
  read_object(*this, object, origin);
}

void OptionList::read_config(const std::string& path) const {
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension != ".json" && extension != ".toml") {
    throw UsageError(str("--config: a file named .toml or .json expected, found '", path, "'"));
  }
  if (!std::filesystem::is_regular_file(path)) {
    throw FileError(str("--config: no file ", path), "check the path given to --config");
  }
  const std::string text = read_file(path, kLargestConfig);
  if (extension == ".json") {
    read_json(text, path);
  } else {
    read_toml(text, path);
  }
}

}  // namespace lorikeet

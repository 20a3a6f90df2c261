#include "tracking/hparams.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

namespace lorikeet {
namespace {

using Json = nlohmann::ordered_json;

// Field numbers are those of tensorboard/plugins/hparams/{plugin_data,api}.proto and google.protobuf.Value.
constexpr int kExperiment = 2, kSessionStart = 3, kSessionEnd = 4;
constexpr int kTypeString = 1, kTypeNumber = 3;

ProtoMessage plugin_value(const char* tag, int kind, const ProtoMessage& content) {
  const ProtoMessage data = ProtoMessage().add_message(kind, content);
  const ProtoMessage plugin = ProtoMessage().add_bytes(1, "hparams").add_bytes(2, data.bytes());
  return ProtoMessage().add_bytes(1, tag).add_message(9, ProtoMessage().add_message(1, plugin));
}

std::string yaml_number(double value) {
  if (std::isnan(value)) return ".nan";
  if (std::isinf(value)) return value > 0 ? ".inf" : "-.inf";
  char buffer[32];
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
  // YAML 1.1 takes a number for a float only when it has a point.
  if (text.find('.') == std::string::npos) text.insert(std::min(text.find('e'), text.size()), ".0");
  return text;
}

/// Texts and lists in JSON's spelling, which is YAML's flow style.
std::string yaml_value(const Json& value) {
  if (value.is_number_float()) return yaml_number(value.get<double>());
  if (value.is_array()) {
    std::string list = "[";
    for (const Json& item : value) list += (list.size() > 1 ? ", " : "") + yaml_value(item);
    return list + "]";
  }
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::vector<ProtoMessage> hparams_values(const std::string& json) {
  ProtoMessage experiment, start;
  const Json config = Json::parse(json);
  for (const auto& [name, value] : config.items()) {
    if (value.is_null()) continue;
    const bool is_number = value.is_number() || value.is_boolean();
    const double number = value.is_boolean() ? value.get<bool>() : is_number ? value.get<double>() : 0;
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    experiment.add_message(4, ProtoMessage().add_bytes(1, name).add_int(4, is_number ? kTypeNumber : kTypeString));
    const ProtoMessage held = is_number ? ProtoMessage().add_double(2, number) : ProtoMessage().add_bytes(3, text);
    start.add_message(1, ProtoMessage().add_bytes(1, name).add_message(2, held));
  }
  constexpr int64_t kSuccess = 1;
  return {plugin_value("_hparams_/experiment", kExperiment, experiment),
          plugin_value("_hparams_/session_start_info", kSessionStart, start),
          plugin_value("_hparams_/session_end_info", kSessionEnd, ProtoMessage().add_int(1, kSuccess))};
}

std::string hparams_yaml(const std::string& json) {
  std::string text;
  const auto config = nlohmann::json::parse(json);  // sorts the keys
  for (const auto& [name, value] : config.items()) {
    text += nlohmann::json(name).dump() + ": " + yaml_value(value) + "\n";
  }
  return text;
}

}  // namespace lorikeet

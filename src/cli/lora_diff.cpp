#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/lora_arguments.h"
#include "cli/lora_commands.h"
#include "cli/numbers.h"
#include "core/listed.h"
#include "core/text.h"
#include "lora/compare.h"

namespace lorikeet {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const ChangeDistance& distance) {
  return str("distance ", short_number(distance.distance()), ", cosine ", short_number(distance.cosine()), ", norms ",
             short_number(distance.norm_a), " and ", short_number(distance.norm_b));
}

Json json_of(const ChangeDistance& distance) {
  return {{"distance", distance.distance()},
          {"cosine", distance.cosine()},
          {"norm_a", distance.norm_a},
          {"norm_b", distance.norm_b}};
}

Json as_json(const CompareReport& report) {
  Json layers = Json::array();
  for (const auto& layer : report.layers) {
    Json entry = {{"model", layer.part}, {"path", layer.path}, {"in_a", layer.in_a}, {"in_b", layer.in_b}};
    entry.update(json_of(layer.weight));
    if (layer.bias) entry["bias"] = json_of(*layer.bias);
    if (layer.magnitude) entry["magnitude"] = json_of(*layer.magnitude);
    layers.push_back(entry);
  }
  Json result = json_of(report.weights);
  result["only_in_a"] = report.only_in_a();
  result["only_in_b"] = report.only_in_b();
  result["words_only_in_a"] = report.words_only_in_a;
  result["words_only_in_b"] = report.words_only_in_b;
  result["words_different"] = report.words_different;
  result["layers"] = layers;
  return result;
}

void tell_list(const char* what, const std::vector<std::string>& names) {
  if (!names.empty()) std::cout << what << ": " << names.size() << " (" << listed(names, 8) << ")\n";
}

}  // namespace

OptionList fields(LoraDiffOptions& o) {
  OptionList list;
  list.group("Arguments");
  list.add("a", &o.a, "LoRA file of any dialect.").required().positional();
  list.add("b", &o.b, "The other one; dialects and kinds may differ: the changes of the weights are compared.")
      .required()
      .positional();
  list.group("Output");
  list.add("layers", &o.layers, "A line for every layer.");
  list.add("json", &o.json, "Everything as JSON.");
  return list;
}

void lora_diff(const LoraDiffOptions& options) {
  LoraDiffOptions copy = options;
  fields(copy).check();
  const auto report = compare_loras(read_lora_argument(options.a, false), read_lora_argument(options.b, false));
  if (options.json) {
    std::cout << as_json(report).dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
    return;
  }
  std::cout << "All layers: " << text_of(report.weights) << "\n";
  tell_list("Only in the first", report.only_in_a());
  tell_list("Only in the second", report.only_in_b());
  tell_list("Words only in the first", report.words_only_in_a);
  tell_list("Words only in the second", report.words_only_in_b);
  tell_list("Words with other vectors", report.words_different);
  if (!options.layers) return;
  for (const auto& layer : report.layers) {
    std::cout << layer.part << "." << layer.path << ": " << text_of(layer.weight) << "\n";
  }
}

}  // namespace lorikeet

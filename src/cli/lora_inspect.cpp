#include <algorithm>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/lora_arguments.h"
#include "cli/lora_commands.h"
#include "cli/model_options.h"
#include "cli/numbers.h"
#include "core/errors.h"
#include "core/text.h"
#include "hub/fetch_by_name.h"
#include "lora/inspect.h"
#include "pipelines/lora_adapters.h"

namespace lorikeet {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostLines = 40;
constexpr size_t kMostText = 200;  // of one metadata value

/// What a file says must stay on its line and leave the terminal as it is.
std::string one_line(std::string text, size_t most = kMostText) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7F) c = ' ';
  }
  if (text.size() > most) text = str(text.substr(0, most), "... (", text.size(), " bytes)");
  return text;
}

/// "4" or "4 to 32"
template <class T>
std::string range(const std::vector<T>& values) {
  if (values.empty()) return "none";
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const auto text = [](T value) { return short_number(static_cast<double>(value)); };
  return *low == *high ? text(*low) : text(*low) + " to " + text(*high);
}

struct PartTotals {
  int64_t layers = 0;
  std::map<std::string, int64_t> kinds;
  std::vector<int64_t> ranks;
  std::vector<double> strengths;
  double squared_norm = 0;
};

std::map<std::string, PartTotals> totals(const LoraSummary& summary) {
  std::map<std::string, PartTotals> parts;
  for (const auto& layer : summary.layers) {
    auto& part = parts[layer.part];
    ++part.layers;
    ++part.kinds[layer.kind];
    if (layer.rank > 0) part.ranks.push_back(layer.rank);
    part.strengths.push_back(layer.strength);
    part.squared_norm += layer.norm * layer.norm;
  }
  return parts;
}

/// What of the file would have no effect in a model; its own unused keys are part of it.
std::vector<std::string> unmatched(const LoraFile& file, const LoraInspectOptions& options) {
  std::vector<std::string> lines;
  if (!options.pretrained_model_name_or_path) {
    for (const auto& [key, reason] : file.unused) lines.push_back(key + ": " + reason);
    return lines;
  }
  const auto model =
      find_model(*options.pretrained_model_name_or_path, options.revision, options.variant, options.single_file_config);
  auto components = load_components(model, options.variant, torch::kFloat);
  return LoraAdapters(components).load(file, "inspected", /*strict=*/false).unmatched;
}

Json as_json(const LoraFile& file, const LoraSummary& summary, const std::vector<std::string>& without_effect) {
  Json layers = Json::array(), words = Json::array(), parts = Json::object();
  for (const auto& layer : summary.layers) {
    layers.push_back({{"model", layer.part},
                      {"path", layer.path},
                      {"kind", layer.kind},
                      {"rank", layer.rank},
                      {"scale", layer.strength},
                      {"norm", layer.norm}});
  }
  for (const auto& word : file.words) words.push_back({{"word", word.word}, {"vectors", word.vectors.size(0)}});
  for (const auto& [name, part] : totals(summary)) {
    parts[name] = {{"layers", part.layers}, {"norm", std::sqrt(part.squared_norm)}};
  }
  return {{"dialect", dialect_name(file.dialect)},
          {"base", summary.base_family},
          {"parameters", summary.parameters},
          {"models", parts},
          {"words", words},
          {"metadata", file.metadata},
          {"no_effect", without_effect},
          {"layers", layers}};
}

void print_lines(const std::vector<std::string>& lines) {
  for (size_t i = 0; i < std::min(lines.size(), kMostLines); ++i) std::cout << "  " << one_line(lines[i]) << "\n";
  if (lines.size() > kMostLines) std::cout << "  and " << lines.size() - kMostLines << " more (--json has all)\n";
}

void print_layers(const LoraSummary& summary) {
  std::cout << "Layers (rank, effective scale, norm of the change):\n";
  for (const auto& layer : summary.layers) {
    std::cout << "  " << layer.part << "." << one_line(layer.path) << "  " << layer.kind;
    if (layer.rank > 0) std::cout << "  rank " << layer.rank;
    std::cout << "  scale " << short_number(layer.strength) << "  norm " << short_number(layer.norm) << "\n";
  }
}

void print_text(const LoraFile& file, const LoraSummary& summary, const LoraInspectOptions& options) {
  std::cout << "Dialect: " << dialect_name(file.dialect) << "\n"
            << "Base: " << summary.base_family << "\n"
            << "Parameters: " << grouped(summary.parameters) << "\n";
  for (const auto& [name, part] : totals(summary)) {
    std::cout << name << ": " << grouped(part.layers) << (part.layers == 1 ? " layer (" : " layers (");
    bool first = true;
    for (const auto& [kind, count] : part.kinds) {
      std::cout << (first ? "" : ", ") << count << " " << kind;
      first = false;
    }
    std::cout << "); rank " << range(part.ranks) << "; effective scale " << range(part.strengths) << "; norm "
              << short_number(std::sqrt(part.squared_norm)) << "\n";
  }
  std::cout << "Learned words: " << (file.words.empty() ? "none" : "") << "\n";
  for (const auto& word : file.words) {
    std::cout << "  " << one_line(word.word) << " (" << word.vectors.size(0)
              << (word.vectors.size(0) == 1 ? " vector)\n" : " vectors)\n");
  }
  if (options.layers) print_layers(summary);
  if (!file.metadata.empty()) {
    std::vector<std::string> lines;
    for (const auto& [key, value] : file.metadata) {
      const bool is_rank = file.dialect == LoraDialect::kCloneofsimo && key.ends_with(":rank");  // a line per layer
      if (!is_rank) lines.push_back(one_line(key) + ": " + one_line(value));
    }
    std::cout << "Metadata:\n";
    print_lines(lines);
  }
}

}  // namespace

OptionList fields(LoraInspectOptions& o) {
  OptionList list;
  list.group("Arguments");
  list.add("file", &o.file, "LoRA file of any dialect, or the output folder of a training.").required().positional();
  list.group("Base model");
  list.add("pretrained_model_name_or_path", &o.pretrained_model_name_or_path,
           "Also tell what would have no effect in this model.");
  list.add("revision", &o.revision, "Branch, tag or commit of a Hub id (default: main).");
  list.add("single_file_config", &o.single_file_config, kSingleFileConfigHelp);
  list.add("variant", &o.variant, "Weights of this variant of the model.");
  list.group("Output");
  list.add("layers", &o.layers, "A line for every layer: kind, rank, effective scale, norm.");
  list.add("json", &o.json, "Everything as JSON.");
  return list;
}

void lora_inspect(const LoraInspectOptions& options) {
  LoraInspectOptions copy = options;
  fields(copy).check();
  const auto file = read_lora_file(fetch_lora_file(options.file));
  const auto summary = inspect_lora(file);
  const auto without_effect = unmatched(file, options);
  if (options.json) {
    std::cout << as_json(file, summary, without_effect).dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
    return;
  }
  print_text(file, summary, options);
  std::cout << "Without effect" << (options.pretrained_model_name_or_path ? " in this model" : "") << ": "
            << (without_effect.empty() ? "nothing" : "") << "\n";
  print_lines(without_effect);
}

}  // namespace lorikeet

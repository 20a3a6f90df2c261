#include "models/weight_loading.h"

#include <algorithm>
#include <map>
#include <vector>

#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors_header.h"

namespace lorikeet {
namespace {

// Whole lists of a wrong model's keys help nobody; the first few show which model it is.
std::string first_few(const std::vector<std::string>& items) {
  constexpr size_t kShown = 8;
  std::string text;
  for (size_t i = 0; i < std::min(items.size(), kShown); ++i) text += (i ? ", " : "") + items[i];
  if (items.size() > kShown) text += str(", and ", items.size() - kShown, " more");
  return text;
}

/// A file's name for a tensor, as it is where it is a name.
std::string shown(const std::string& key) {
  const auto is_text = [](char c) { return c >= 0x20 && c != 0x7f; };
  return key.size() <= 200 && std::all_of(key.begin(), key.end(), is_text) ? key : quoted_tensor_name(key);
}

std::string describe(const std::string& kind, const std::vector<std::string>& items) {
  return items.empty() ? "" : str("; ", items.size(), " ", kind, ": ", first_few(items));
}

}  // namespace

void load_weights(torch::nn::Module& model, const WeightSource& source, torch::ScalarType dtype,
                  const KeyRename& rename) {
  std::map<std::string, std::string> source_keys;  // by the model's name
  for (const auto& key : source.names()) {
    if (auto name = rename ? rename(key) : key) source_keys[*name] = key;
  }
  std::vector<std::string> missing, unexpected, misshaped;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> found;
  for (auto& parameter : model.named_parameters()) {
    auto entry = source_keys.find(parameter.key());
    if (entry == source_keys.end()) {
      missing.push_back(parameter.key());
      continue;
    }
    auto tensor = source.tensor(entry->second);
    if (!tensor.is_floating_point()) {
      throw FormatError(lorikeet::str(source.description(), ": ", entry->second, " has dtype ", tensor.dtype(),
                                      ", expected a float type"));
    }
    if (tensor.sizes() != parameter.value().sizes()) {
      misshaped.push_back(lorikeet::str(entry->second, " is ", tensor.sizes(), " where the config asks for ",
                                        parameter.value().sizes()));
    }
    found.emplace_back(parameter.value(), tensor);
    source_keys.erase(entry);
  }
  for (const auto& [name, key] : source_keys) unexpected.push_back(shown(key));
  if (!missing.empty() || !unexpected.empty() || !misshaped.empty()) {
    throw FormatError(str(source.description(), " does not fit its config", describe("missing", missing),
                          describe("unexpected", unexpected), describe("of another shape", misshaped)),
                      "the weights and config.json must come from the same model");
  }
  torch::NoGradGuard no_grad;
  for (auto& [parameter, tensor] : found) {
    parameter.set_data(tensor.to(dtype));
    parameter.set_requires_grad(false);
  }
}

}  // namespace lorikeet

#include "lora/formats/peft_metadata.h"

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "core/text.h"
#include "io/safetensors_header.h"

namespace lorikeet {
namespace {

// Four times what patterns for every layer of SDXL need; as values JSON takes forty times the memory of its text.
constexpr size_t kMostText = 1 << 20;
constexpr const char* kKey = "lora_adapter_metadata";
constexpr const char* kConfigName = "adapter_config.json";
constexpr std::array<std::string_view, kLoraComponents> kPrefixes = {"unet.", "text_encoder.", "text_encoder_2."};

/// PEFT's own files are called adapter_model and have their settings in a file beside them.
std::string text_beside(const std::filesystem::path& path) {
  const auto beside = path.parent_path() / kConfigName;
  std::error_code error;
  if (path.stem() != "adapter_model" || !std::filesystem::is_regular_file(beside, error)) return "";
  std::ifstream in(beside, std::ios::binary);
  std::string text(kMostText + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

/// Dots that stand for themselves are escaped in some patterns.
std::string without_escapes(const std::string& name) {
  std::string plain;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] != '\\' || name.compare(i + 1, 1, ".") != 0) plain += name[i];
  }
  return plain;
}

}  // namespace

class PeftMetadata::Reader {
 public:
  Reader(const std::string& text, std::string source) : source_(std::move(source)) {
    if (text.size() > kMostText) fail(lorikeet::str("has ", text.size(), " bytes; at most ", kMostText, " expected"));
    // What is nested deeper than settings are is dropped while parsing.
    const auto shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth <= 3; };
    json_ = nlohmann::json::parse(text, shallow, /*allow_exceptions=*/false);
    if (!json_.is_object()) fail("is no JSON object");
  }

  Settings settings(const std::string& prefix) const {
    Settings settings;
    if (const auto* alpha = find(prefix + "lora_alpha")) settings.alpha = finite(*alpha, prefix + "lora_alpha");
    if (const auto* flag = find(prefix + "use_rslora"))
      settings.rank_stabilized = flag->is_boolean() && flag->get<bool>();
    const auto* patterns = find(prefix + "alpha_pattern");
    if (patterns == nullptr) return settings;
    if (!patterns->is_object()) fail(prefix + "alpha_pattern is no JSON object");
    size_t order = 0;
    for (const auto& [name, alpha] : patterns->items()) {
      const std::string end = without_escapes(name);
      if (end.find_first_of("*+?[](){}|\\^$", end.starts_with('^') ? 1 : 0) != std::string::npos) {
        fail(lorikeet::str(prefix, "alpha_pattern has ", quoted_tensor_name(name), ", a regular expression"),
             "write the names of layers, or ends of them, in its place");
      }
      settings.patterns.emplace(end, Settings::Pattern{order++, finite(alpha, prefix + "alpha_pattern")});
    }
    return settings;
  }

  bool has(const std::string& name) const { return json_.contains(name); }

 private:
  [[noreturn]] void fail(const std::string& what, const std::string& hint = "") const {
    throw FormatError(lorikeet::str(source_, " ", what), hint);
  }

  const nlohmann::json* find(const std::string& name) const {
    const auto found = json_.find(name);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  double finite(const nlohmann::json& value, const std::string& name) const {
    if (value.is_number() && std::abs(value.get<double>()) <= std::numeric_limits<float>::max()) {
      return value.get<double>();
    }
    const std::string found =
        value.is_structured() ? value.type_name() : value.dump(-1, ' ', true, replace()).substr(0, 60);
    fail(lorikeet::str("has ", name, " ", found, ", a finite number expected"));
  }

  static nlohmann::json::error_handler_t replace() { return nlohmann::json::error_handler_t::replace; }

  std::string source_;
  nlohmann::json json_;
};

PeftMetadata::PeftMetadata(const std::map<std::string, std::string>& metadata, const std::filesystem::path& path) {
  const auto entry = metadata.find(kKey);
  const std::string beside = entry == metadata.end() ? text_beside(path) : "";
  if (entry == metadata.end() && beside.empty()) return;
  const bool is_beside = entry == metadata.end();
  const Reader reader(is_beside ? beside : entry->second, is_beside ? (path.parent_path() / kConfigName).string()
                                                                    : lorikeet::str(path.string(), ": ", kKey));
  for (size_t i = 0; i < kLoraComponents; ++i) {
    // A model's own adapter is written without the model's name.
    const bool is_bare =
        !reader.has(lorikeet::str(kPrefixes[i], "r")) && !reader.has(lorikeet::str(kPrefixes[i], "lora_alpha"));
    settings_[i] = reader.settings(is_bare ? "" : std::string(kPrefixes[i]));
  }
}

double PeftMetadata::strength(LoraComponent component, std::string_view path, int64_t rank) const {
  const Settings& settings = settings_[static_cast<size_t>(component)];
  std::optional<double> alpha = settings.alpha;
  if (!settings.patterns.empty()) {
    size_t first = settings.patterns.size();
    const auto consider = [&](const std::string& name) {
      const auto found = settings.patterns.find(name);
      if (found == settings.patterns.end() || found->second.order >= first) return;
      first = found->second.order;
      alpha = found->second.alpha;
    };
    consider("^" + std::string(path));
    consider(std::string(path));
    for (size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.', dot + 1)) {
      consider(std::string(path.substr(dot + 1)));
    }
  }
  if (!alpha) return 1;
  const auto r = static_cast<double>(rank);
  return *alpha / (settings.rank_stabilized ? std::sqrt(r) : r);
}

}  // namespace lorikeet

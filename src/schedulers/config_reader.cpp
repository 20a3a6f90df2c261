#include "schedulers/config_reader.h"

#include <cmath>
#include <limits>
#include <set>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

/// Every parameter of the schedulers that Diffusers lets be exchanged for one another. A file saved by one of them
/// may carry keys of the others (Stable Diffusion 1.5's PNDM file has clip_sample).
const std::set<std::string> kKnownKeys = {
    // the supported classes
    "_class_name", "_diffusers_version", "_use_default_values", "algorithm_type", "beta_end", "beta_schedule",
    "beta_start", "clip_sample", "clip_sample_range", "dynamic_thresholding_ratio", "euler_at_final",
    "final_sigmas_type", "flow_shift", "interpolation_type", "lambda_min_clipped", "lower_order_final",
    "num_train_timesteps", "prediction_type", "rescale_betas_zero_snr", "sample_max_value", "set_alpha_to_one",
    "sigma_max", "sigma_min", "skip_prk_steps", "solver_order", "solver_type", "steps_offset", "thresholding",
    "time_shift_type", "timestep_spacing", "timestep_type", "trained_betas", "use_beta_sigmas", "use_dynamic_shifting",
    "use_exponential_sigmas", "use_flow_sigmas", "use_karras_sigmas", "use_lu_lambdas", "variance_type",
    // UniPC, Heun, DEIS, DPM-Solver SDE and singlestep, EDM: a repository may hold their file, training reads DDPM
    "disable_corrector", "noise_sampler_seed", "predict_x0", "rho", "shift_terminal", "sigma_data", "sigma_schedule",
    "solver_p"};

bool is_word_part(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '+'; }

/// Puts quotes around bare Infinity, -Infinity and NaN.
std::string quote_infinities(std::string_view text) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < text.size();) {
    if (in_string || text[i] == '"') {
      if (in_string && text[i] == '\\' && i + 1 < text.size())
        out += text[i++];
      else if (text[i] == '"')
        in_string = !in_string;
      out += text[i++];
      continue;
    }
    size_t end = i;
    while (end < text.size() && is_word_part(text[end])) ++end;
    const auto word = text.substr(i, end - i);
    if (word == "Infinity" || word == "-Infinity" || word == "NaN")
      out += str('"', word, '"');
    else
      out += word;
    if (end == i) out += text[end++];
    i = end;
  }
  return out;
}

}  // namespace

nlohmann::json parse_scheduler_config(std::string_view text, const std::string& origin) {
  try {
    return nlohmann::json::parse(quote_infinities(text));
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(str(origin, " is not JSON: ", error.what()));
  }
}

SchedulerConfigReader::SchedulerConfigReader(const nlohmann::json& config, std::string class_name)
    : config_(config), class_name_(std::move(class_name)) {
  if (!config_.is_object())
    throw FormatError(str("the config of ", class_name_, " is ", config_.type_name(), ", expected a JSON object"));
  for (const auto& [key, value] : config_.items()) {
    if (!kKnownKeys.count(key))
      throw FormatError(str("scheduler config key '", key, "' (", value.dump(), ") is not known to ", class_name_,
                            " or any scheduler it can be exchanged for"),
                        "It may change the pictures, so it is not ignored. Remove it if you know that it does not.");
  }
  // Diffusers marks values that came from another class's defaults, so that each class applies its own.
  if (const auto defaults = config_.find("_use_default_values"); defaults != config_.end()) {
    if (!defaults->is_array()) refuse("_use_default_values", "a list of keys");
    const auto names = *defaults;
    for (const auto& name : names) {
      if (!name.is_string()) refuse("_use_default_values", "a list of keys");
      config_.erase(name.get<std::string>());
    }
  }
}

const nlohmann::json* SchedulerConfigReader::find(const std::string& key) const {
  const auto found = config_.find(key);
  return found == config_.end() ? nullptr : &*found;
}

void SchedulerConfigReader::refuse(const std::string& key, const std::string& expected) const {
  const auto* value = find(key);
  throw FormatError(str("scheduler config key '", key, "' is ", value ? value->dump() : "missing", ", but ",
                        class_name_, " expects ", expected));
}

bool SchedulerConfigReader::flag(const std::string& key, bool fallback) const {
  const auto* value = find(key);
  if (!value) return fallback;
  if (value->is_null()) return false;
  if (!value->is_boolean()) refuse(key, "true or false");
  return value->get<bool>();
}

int64_t SchedulerConfigReader::integer(const std::string& key, int64_t fallback, int64_t minimum) const {
  const auto* value = find(key);
  if (!value) return fallback;
  constexpr int64_t kMaximum = 1'000'000;
  if (!value->is_number_integer() || value->get<double>() < minimum || value->get<double>() > kMaximum)
    refuse(key, str("an integer from ", minimum, " to ", kMaximum));
  return value->get<int64_t>();
}

std::optional<double> SchedulerConfigReader::optional_number(const std::string& key) const {
  const auto* value = find(key);
  if (!value || value->is_null()) return std::nullopt;
  if (*value == "Infinity") return std::numeric_limits<double>::infinity();
  if (*value == "-Infinity") return -std::numeric_limits<double>::infinity();
  if (!value->is_number() || std::isnan(value->get<double>())) refuse(key, "a number");
  return value->get<double>();
}

double SchedulerConfigReader::number(const std::string& key, double fallback) const {
  if (!find(key)) return fallback;
  const auto value = optional_number(key);
  if (!value) refuse(key, "a number");
  return *value;
}

std::string SchedulerConfigReader::choice(const std::string& key, const std::string& fallback,
                                          std::initializer_list<const char*> allowed) const {
  const auto* value = find(key);
  if (!value || value->is_null()) return fallback;
  std::string expected;
  for (const char* option : allowed) {
    if (*value == option) return option;
    expected += str(expected.empty() ? "" : ", ", option);
  }
  refuse(key, str(allowed.size() > 1 ? "one of " : "", expected));
}

BetaOptions SchedulerConfigReader::betas(std::initializer_list<const char*> schedules, bool can_rescale) const {
  BetaOptions options;
  options.num_train_timesteps = integer("num_train_timesteps", 1000, 1);
  options.beta_start = number("beta_start", 0.0001);
  options.beta_end = number("beta_end", 0.02);
  for (const auto& [key, beta] : {std::pair{"beta_start", options.beta_start}, {"beta_end", options.beta_end}}) {
    if (!(beta >= 0 && beta < 1)) refuse(key, "a number from 0 to below 1");
  }
  options.beta_schedule = choice("beta_schedule", "linear", schedules);
  if (const auto* betas = find("trained_betas"); betas && !betas->is_null()) {
    const auto expected =
        str("null or a list of num_train_timesteps = ", options.num_train_timesteps, " numbers from 0 to below 1");
    if (!betas->is_array() || betas->size() != static_cast<size_t>(options.num_train_timesteps))
      throw FormatError(str("scheduler config key 'trained_betas' is ", betas->type_name(), " with ", betas->size(),
                            " entries, but ", class_name_, " expects ", expected));
    options.trained_betas.emplace();
    for (const auto& beta : *betas) {
      if (!beta.is_number() || !(beta.get<double>() >= 0 && beta.get<double>() < 1))
        throw FormatError(str("scheduler config key 'trained_betas' has the entry ", beta.dump(), ", but ", class_name_,
                              " expects ", expected));
      options.trained_betas->push_back(beta.get<double>());
    }
  }
  options.rescale_betas_zero_snr = can_rescale && flag("rescale_betas_zero_snr", false);
  return options;
}

}  // namespace lorikeet

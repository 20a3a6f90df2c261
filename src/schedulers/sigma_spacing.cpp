#include "schedulers/sigma_spacing.h"

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/text.h"
#include "schedulers/config_reader.h"
#include "schedulers/timestep_spacing.h"

namespace lorikeet {
namespace {

constexpr double kKarrasRho = 7;

}  // namespace

TrainingSigmas::TrainingSigmas(const NoiseSchedule& schedule) {
  const auto& alphas = schedule.alphas_cumprod;
  const auto values = ((1 - alphas) / alphas).pow(0.5).contiguous();
  sigmas.assign(values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
  for (const float sigma : sigmas) log_sigmas.push_back(std::log(sigma));
}

double TrainingSigmas::at(double timestep) const {
  const double last = static_cast<double>(sigmas.size()) - 1;
  if (timestep <= 0) return sigmas.front();
  if (timestep >= last) return sigmas.back();
  const auto low = static_cast<size_t>(timestep);
  const double from = sigmas[low], slope = static_cast<double>(sigmas[low + 1]) - from;
  return slope * (timestep - static_cast<double>(low)) + from;
}

double TrainingSigmas::timestep_of(double sigma) const {
  const double wanted = std::log(std::max(sigma, 1e-10));
  int64_t low = 0;
  for (size_t i = 0; i < log_sigmas.size(); ++i) {
    if (wanted >= log_sigmas[i]) low = static_cast<int64_t>(i);
  }
  low = std::max<int64_t>(0, std::min<int64_t>(low, static_cast<int64_t>(log_sigmas.size()) - 2));
  const float from = log_sigmas[low], to = log_sigmas[low + 1];
  const double weight = std::clamp((from - wanted) / (from - to), 0.0, 1.0);
  return (1 - weight) * static_cast<double>(low) + weight * static_cast<double>(low + 1);
}

SigmaSpacing SigmaSpacing::read(const SchedulerConfigReader& config, bool has_lu) {
  const bool karras = config.flag("use_karras_sigmas", false);
  const bool exponential = config.flag("use_exponential_sigmas", false);
  if (config.flag("use_beta_sigmas", false)) config.refuse("use_beta_sigmas", "false");
  if (karras && exponential) config.refuse("use_exponential_sigmas", "false together with use_karras_sigmas");

  SigmaSpacing spacing;
  if (karras)
    spacing.kind = Kind::kKarras;
  else if (has_lu && config.flag("use_lu_lambdas", false))
    spacing.kind = Kind::kLu;
  else if (exponential)
    spacing.kind = Kind::kExponential;
  spacing.sigma_min = config.optional_number("sigma_min");
  spacing.sigma_max = config.optional_number("sigma_max");
  for (const char* key : {"sigma_min", "sigma_max"}) {
    const auto value = config.optional_number(key);
    if (value && !(*value > 0 && std::isfinite(*value))) config.refuse(key, "null or a number above 0");
  }
  return spacing;
}

std::vector<double> SigmaSpacing::sigmas(double largest, double smallest, int64_t n) const {
  if (kind == Kind::kLu) {
    auto lambdas = linspace(0, 1, n);
    const double from = std::log(static_cast<float>(largest)), to = std::log(static_cast<float>(smallest));
    for (auto& value : lambdas) value = std::exp(from + value * (to - from));
    return lambdas;
  }
  largest = sigma_max.value_or(largest);
  smallest = sigma_min.value_or(smallest);
  if (kind == Kind::kExponential) {
    auto values = linspace(std::log(largest), std::log(smallest), n);
    for (auto& value : values) value = std::exp(value);
    return values;
  }
  // Karras et al., arXiv:2206.00364, formula (5)
  const double from = std::pow(largest, 1 / kKarrasRho), to = std::pow(smallest, 1 / kKarrasRho);
  auto values = linspace(0, 1, n);
  for (auto& value : values) value = std::pow(from + value * (to - from), kKarrasRho);
  return values;
}

}  // namespace lorikeet

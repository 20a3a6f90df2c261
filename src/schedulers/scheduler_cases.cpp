#include "schedulers/scheduler_cases.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "schedulers/make_scheduler.h"

namespace lorikeet {
namespace {

using nlohmann::json;

constexpr std::array<int64_t, 4> kShape = {2, 4, 1, 2};

std::unique_ptr<Scheduler> make(const json& one) {
  return one.contains("name") ? make_scheduler(one["name"].get<std::string>(), one["config"])
                              : make_scheduler(one["config"]);
}

torch::ScalarType dtype_of(const json& one) {
  const auto& name = one["dtype"];
  if (name == "float32") return torch::kFloat32;
  return name == "bfloat16" ? torch::kBFloat16 : torch::kFloat16;
}

/// Stands in for the UNet: the same few operations in Python and C++.
torch::Tensor model(const torch::Tensor& sample, double t) {
  const auto x = sample.to(torch::kFloat32);
  return (x * (0.3 * std::cos(t / 1000)) + torch::sin(x * 3.0 + t / 1000) * 0.1).to(sample.scalar_type());
}

std::vector<float> values_of(const torch::Tensor& tensor) {
  const auto flat = tensor.to(torch::kFloat32).contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

std::vector<double> doubles_of(const torch::Tensor& tensor) {
  const auto flat = tensor.to(torch::kFloat64).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

torch::Generator generator_of(const json& one) {
  auto generator = torch::make_generator<torch::CPUGeneratorImpl>();
  generator.set_current_seed(one["seed"].get<uint64_t>());
  return generator;
}

}  // namespace

json run_scheduler_case(const json& one) {
  const auto scheduler = make(one);
  scheduler->set_timesteps(one["steps"].get<int64_t>());
  auto generator = generator_of(one);
  StepOptions options;
  options.eta = one["options"].value("eta", options.eta);
  options.use_clipped_model_output = one["options"].value("use_clipped_model_output", false);
  options.s_churn = one["options"].value("s_churn", options.s_churn);
  options.s_tmin = one["options"].value("s_tmin", options.s_tmin);
  options.s_tmax = one["options"].value("s_tmax", options.s_tmax);
  options.s_noise = one["options"].value("s_noise", options.s_noise);

  auto sample = torch::randn(kShape, generator).to(dtype_of(one)) * scheduler->init_noise_sigma();
  const auto timesteps = doubles_of(scheduler->timesteps());
  json samples = json::array();
  for (const double t : timesteps) {
    const auto output = model(scheduler->scale_model_input(sample, t), t);
    sample = scheduler->step(output, t, sample, generator, options);
    samples.push_back(values_of(sample));
  }
  return {{"timesteps", timesteps},
          {"init_noise_sigma", scheduler->init_noise_sigma()},
          {"samples", samples},
          {"next_random", torch::randn({}, generator).item<float>()}};
}

json run_noise_case(const json& one) {
  const auto scheduler = make(one);
  torch::Tensor timesteps;
  if (one["steps"] == 0) {
    timesteps = torch::tensor(one["timesteps"].get<std::vector<int64_t>>(), torch::kInt64);
  } else {
    scheduler->set_timesteps(one["steps"].get<int64_t>());
    const auto indices = torch::tensor(one["timestep_indices"].get<std::vector<int64_t>>(), torch::kInt64);
    timesteps = scheduler->timesteps().index_select(0, indices);
  }
  auto generator = generator_of(one);
  const auto x0 = torch::randn(kShape, generator).to(dtype_of(one));
  const auto noise = torch::randn(kShape, generator).to(dtype_of(one));
  json result = {{"noisy", values_of(scheduler->add_noise(x0, noise, timesteps))}};
  if (one["steps"] == 0) result["velocity"] = values_of(scheduler->get_velocity(x0, noise, timesteps));
  return result;
}

}  // namespace lorikeet

// Every optimizer against its reference implementation's trace (tools/reference/optimizers.py).
#include <ATen/Version.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/safetensors.h"
#include "training/optimizer_test_support.h"

namespace lorikeet {
namespace {

constexpr int64_t kSampleStride = 29;  // of "down"

OptimizerOptions options_of(const nlohmann::json& trace) {
  OptimizerOptions options;
  options.name = trace.at("optimizer");
  const auto& values = trace.at("options");
  const auto number = [&](const char* name) {
    return values.contains(name) ? std::optional<double>(values.at(name).get<double>()) : std::nullopt;
  };
  options.beta1 = number("beta1");
  options.beta2 = number("beta2");
  options.weight_decay = number("weight_decay");
  options.epsilon = number("epsilon");
  options.d_coef = values.value("d_coef", 1.0);
  options.safeguard_warmup = values.value("safeguard_warmup", false);
  options.use_bias_correction = values.value("use_bias_correction", false);
  return options;
}

torch::Tensor sampled(const TrainedParameter& parameter) {
  const auto flat = parameter.value.detach().flatten();
  return parameter.name == "down" ? flat.slice(0, 0, flat.numel(), kSampleStride) : flat;
}

/// Relative to the largest value; "up" begins with zeros only.
double distance(const torch::Tensor& ours, const torch::Tensor& theirs) {
  return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30)).item<double>();
}

/// Nothing differs where torch has the vector kernels that made the traces: the operations are the same ones. Its plain
/// kernels (ATEN_CPU_CAPABILITY=default) round multiply-adds twice, 2.8e-7 at worst in ten steps; Adafactor and Prodigy
/// also sum, in an order that is the machine's.
double tolerance(const std::string& optimizer) {
  const auto kernels = at::get_cpu_capability();
  const bool sums = optimizer == "adafactor" || optimizer == "prodigy";
  return !sums && (kernels == "AVX2" || kernels == "AVX512") ? 0 : 1e-6;
}

class OptimizerTrace : public testing::TestWithParam<std::string> {
 protected:
  OptimizerTrace() {
    for (const auto& trace : made_with_.at("traces")) {
      if (trace.at("trace") == GetParam()) trace_ = trace;
    }
    tolerance_ = tolerance(trace_.at("optimizer"));
    optimizer_ = make_optimizer(options_of(trace_), parameters_);
  }

  void step(int64_t index) {
    set_small_gradients(parameters_, index);
    optimizer_->step(trace_.at("rate").get<double>() * made_with_.at("rate_factors").at(index).get<double>());
  }
  torch::Tensor theirs(const std::string& name) const { return file_.tensor(GetParam() + "." + name); }

  SafetensorsFile file_ = SafetensorsFile::open("tests/data/optimizer_traces.safetensors");
  nlohmann::json made_with_ = nlohmann::json::parse(file_.metadata().at("made_with")), trace_;
  double tolerance_ = 0;
  std::vector<TrainedParameter> parameters_ = small_problem();
  std::unique_ptr<Optimizer> optimizer_;
};

TEST_P(OptimizerTrace, IsFollowed) {
  ASSERT_EQ(made_with_.at("rate_factors").size(), 10);
  for (int64_t index = 0; index < 10; ++index) {
    step(index);
    for (const auto& parameter : parameters_) {
      EXPECT_LE(distance(sampled(parameter), theirs(parameter.name)[index]), tolerance_)
          << parameter.name << ", step " << index;
    }
    if (trace_.at("optimizer") != "prodigy") continue;
    EXPECT_NEAR(optimizer_->effective_rate(1) / theirs("d")[index].item<double>(), 1, tolerance_) << "step " << index;
  }
}

INSTANTIATE_TEST_SUITE_P(All, OptimizerTrace,
                         testing::Values("adamw", "adamw8bit", "adafactor", "lion", "prodigy", "prodigy_options",
                                         "schedulefree"));

using AdamW8bitTrace = OptimizerTrace;

TEST_P(AdamW8bitTrace, EndsWithTheSameCodes) {
  for (int64_t index = 0; index < 10; ++index) step(index);
  const auto state = optimizer_->state();
  const std::map<std::string, torch::Tensor> ours(state.tensors.begin(), state.tensors.end());
  EXPECT_TRUE(torch::equal(ours.at("first.down"), theirs("down.state1")));
  EXPECT_TRUE(torch::equal(ours.at("second.down"), theirs("down.state2")));
  EXPECT_LE(distance(ours.at("first_scales.down"), theirs("down.absmax1")), tolerance_);
  EXPECT_LE(distance(ours.at("second_scales.down"), theirs("down.absmax2")), tolerance_);
}

INSTANTIATE_TEST_SUITE_P(Codes, AdamW8bitTrace, testing::Values("adamw8bit"));

using ScheduleFreeTrace = OptimizerTrace;

TEST_P(ScheduleFreeTrace, EndsAtTheSameAverage) {
  for (int64_t index = 0; index < 10; ++index) step(index);
  optimizer_->set_training(false);
  for (const auto& parameter : parameters_) {
    EXPECT_LE(distance(sampled(parameter), theirs(parameter.name + ".averaged")), tolerance_) << parameter.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Average, ScheduleFreeTrace, testing::Values("schedulefree"));

}  // namespace
}  // namespace lorikeet

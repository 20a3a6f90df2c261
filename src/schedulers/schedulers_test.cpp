#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "core/text.h"
#include "schedulers/make_scheduler.h"
#include "schedulers/scheduler_cases.h"

namespace lorikeet {
namespace {

using nlohmann::json;

/// Two units in the last place of bfloat16 or float16: one machine's rounding may tip another way.
double tolerance(const json& one) {
  if (one["dtype"] == "float32") return 1e-5;
  return one["dtype"] == "bfloat16" ? std::pow(2.0, -7) : std::pow(2.0, -10);
}

json reference() {
  std::ifstream file("tests/data/schedulers.json");
  return json::parse(file);
}

std::string described(const json& one) {
  auto copy = one;
  copy.erase("expected");
  return copy.dump();
}

/// max |a - b| / max |b|; infinite when anything is not finite
double difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0, most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return INFINITY;
    largest = std::max(largest, std::fabs(b[i]));
    most = std::max(most, std::fabs(a[i] - b[i]));
  }
  return most / largest;
}

std::vector<double> weighted_sums(const json& samples) {
  std::vector<double> sums;
  for (const auto& sample : samples) {
    double sum = 0;
    for (size_t i = 0; i < sample.size(); ++i) sum += std::cos(static_cast<double>(i)) * sample[i].get<double>();
    sums.push_back(sum);
  }
  return sums;
}

TEST(Schedulers, FollowTheTrajectoriesOfDiffusers) {
  const auto runs = reference()["runs"];
  ASSERT_GT(runs.size(), 100u);
  for (const auto& one : runs) {
    SCOPED_TRACE(described(one));
    const auto& expected = one["expected"];
    const auto result = run_scheduler_case(one);
    const auto timesteps = result["timesteps"].get<std::vector<double>>();
    const auto expected_timesteps = expected["timesteps"].get<std::vector<double>>();
    if (expected["timesteps"][0].is_number_integer()) EXPECT_EQ(timesteps, expected_timesteps);
    // float32 timesteps found from sigmas go through numpy's logarithm, which differs between processors.
    else
      EXPECT_LE(difference(timesteps, expected_timesteps), 1e-6);
    EXPECT_NEAR(result["init_noise_sigma"].get<double>(), expected["init_noise_sigma"].get<double>(),
                1e-6 * expected["init_noise_sigma"].get<double>());
    EXPECT_FLOAT_EQ(result["next_random"].get<float>(), expected["next_random"].get<float>());
    EXPECT_LE(difference(result["samples"].back(), expected["last"]), tolerance(one));
    EXPECT_LE(difference(weighted_sums(result["samples"]), expected["sums"]), tolerance(one));
  }
}

TEST(Schedulers, AddNoiseAsDiffusersInEveryDtype) {
  const auto noises = reference()["noises"];
  ASSERT_GT(noises.size(), 30u);
  for (const auto& one : noises) {
    SCOPED_TRACE(described(one));
    const auto result = run_noise_case(one);
    for (const auto& [what, expected] : one["expected"].items())
      EXPECT_LE(difference(result[what], expected), tolerance(one)) << what;
  }
}

/// The message of the E that `call` throws; any other outcome fails the test.
template <class E, class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

struct BadConfig {
  const char* name;
  json config;
  const char* key;
};

TEST(Schedulers, RefuseWhatTheyDoNotKnowByName) {
  const BadConfig cases[] = {
      {"ddim", {{"new_idea", 1}}, "new_idea"},
      {"ddim", {{"_private", 1}}, "_private"},
      {"ddpm", {{"variance_type", "learned"}}, "variance_type"},
      {"ddpm", {{"variance_type", "learned_range"}}, "variance_type"},
      {"ddpm", {{"beta_schedule", "quadratic"}}, "beta_schedule"},
      {"ddim", {{"beta_schedule", "sigmoid"}}, "beta_schedule"},
      {"ddim", {{"beta_start", -0.1}}, "beta_start"},
      {"ddim", {{"beta_end", "much"}}, "beta_end"},
      {"ddim", {{"beta_end", nullptr}}, "beta_end"},
      {"ddim", {{"num_train_timesteps", 0}}, "num_train_timesteps"},
      {"ddim", {{"num_train_timesteps", 10.5}}, "num_train_timesteps"},
      {"ddim", {{"trained_betas", {0.1, 0.2}}}, "trained_betas"},
      {"ddim", {{"trained_betas", {0.1, 2}}, {"num_train_timesteps", 2}}, "trained_betas"},
      {"ddim", {{"clip_sample", "yes"}}, "clip_sample"},
      {"ddim", {{"clip_sample_range", 0}}, "clip_sample_range"},
      {"ddim", {{"dynamic_thresholding_ratio", 1.5}}, "dynamic_thresholding_ratio"},
      {"ddim", {{"steps_offset", -1}}, "steps_offset"},
      {"ddim", {{"timestep_spacing", "even"}}, "timestep_spacing"},
      {"ddim", {{"prediction_type", "flow_prediction"}}, "prediction_type"},
      {"ddim", {{"_use_default_values", 3}}, "_use_default_values"},
      {"ddim", {{"_use_default_values", {3}}}, "_use_default_values"},
      {"pndm", {{"prediction_type", "sample"}}, "prediction_type"},
      {"euler_a", {{"prediction_type", "sample"}}, "prediction_type"},
      {"euler", {{"use_beta_sigmas", true}}, "use_beta_sigmas"},
      {"euler", {{"use_karras_sigmas", true}, {"use_exponential_sigmas", true}}, "use_exponential_sigmas"},
      {"euler", {{"interpolation_type", "cubic"}}, "interpolation_type"},
      {"euler", {{"timestep_type", "odd"}}, "timestep_type"},
      {"euler", {{"final_sigmas_type", "one"}}, "final_sigmas_type"},
      {"euler", {{"sigma_min", 0}}, "sigma_min"},
      {"euler", {{"sigma_max", "-Infinity"}}, "sigma_max"},
      {"dpmsolver++", {{"use_flow_sigmas", true}}, "use_flow_sigmas"},
      {"dpmsolver++", {{"algorithm_type", "unipc"}}, "algorithm_type"},
      {"dpmsolver++", {{"algorithm_type", "dpmsolver"}}, "final_sigmas_type"},
      {"dpmsolver++", {{"solver_type", "euler"}}, "solver_type"},
      {"dpmsolver++", {{"solver_order", 4}}, "solver_order"},
      {"dpmsolver++",
       {{"solver_order", 3}, {"algorithm_type", "sde-dpmsolver"}, {"final_sigmas_type", "sigma_min"}},
       "solver_order"},
      {"dpmsolver++", {{"variance_type", "learned"}}, "variance_type"},
      {"dpmsolver++", {{"lambda_min_clipped", 100}}, "lambda_min_clipped"},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.config.dump());
    const auto message = message_of<FormatError>([&] { make_scheduler(one.name, one.config); });
    EXPECT_SAYS(message, str("'", one.key, "'"));
    EXPECT_SAYS(message, make_scheduler(one.name, json::object())->class_name());
  }
}

TEST(Schedulers, RefuseUnknownClassesAndNames) {
  const auto message = message_of<FormatError>([] { make_scheduler({{"_class_name", "LMSDiscreteScheduler"}}); });
  EXPECT_SAYS(message, "LMSDiscreteScheduler");
  EXPECT_SAYS(message, "PNDMScheduler");
  EXPECT_SAYS(message_of<FormatError>([] { make_scheduler(json::object()); }), "null");
  EXPECT_SAYS(message_of<FormatError>([] { make_scheduler(json::array()); }), "_class_name");
  EXPECT_SAYS(message_of<FormatError>([] { make_scheduler("ddim", json::array()); }), "array");
  const auto usage = message_of<UsageError>([] { make_scheduler("lms", json::object()); });
  EXPECT_SAYS(usage, "lms");
  EXPECT_SAYS(usage, "euler_a");
}

TEST(Schedulers, ReadAnotherClassesFile) {
  // As Stable Diffusion 1.5 has it: a PNDM file with a key of DDIM's.
  const json config = {{"_class_name", "PNDMScheduler"},
                       {"beta_schedule", "scaled_linear"},
                       {"skip_prk_steps", true},
                       {"clip_sample", false},
                       {"steps_offset", 1},
                       {"trained_betas", nullptr}};
  EXPECT_EQ(make_scheduler(config)->class_name(), "PNDMScheduler");
  for (const auto& name : scheduler_names()) EXPECT_NO_THROW(make_scheduler(name, config)) << name;
  // A file of a class we do not have still serves those we have.
  const json unipc = {{"_class_name", "UniPCMultistepScheduler"}, {"predict_x0", true}, {"solver_type", "bh2"}};
  EXPECT_NO_THROW(make_scheduler("dpmsolver++", unipc));
}

TEST(Schedulers, KeysThatHeldDefaultsAreLeftToTheClass) {
  const json config = {{"prediction_type", "v_prediction"}, {"_use_default_values", {"prediction_type"}}};
  EXPECT_EQ(make_scheduler("ddim", config)->prediction_type(), "epsilon");
}

TEST(Schedulers, ParseInfinitiesAsPythonWritesThem) {
  const auto config = parse_scheduler_config(
      R"({"lambda_min_clipped": -Infinity, "note": "a \"quoted\" -Infinity", "x": [NaN,Infinity], "y": -1e-5})",
      "here");
  EXPECT_EQ(config["lambda_min_clipped"], "-Infinity");
  EXPECT_EQ(config["note"], "a \"quoted\" -Infinity");
  EXPECT_EQ(config["x"], json({"NaN", "Infinity"}));
  EXPECT_EQ(config["y"], -1e-5);
  EXPECT_NO_THROW(make_scheduler("dpmsolver++", {{"lambda_min_clipped", config["lambda_min_clipped"]}}));
  for (const char* bad : {"", "{", "{\"a\": \"", "{\"a\": \"\\", "{\"a\": infinity}", "\xff"})
    EXPECT_SAYS(message_of<FormatError>([&] { parse_scheduler_config(bad, "here.json"); }), "here.json");
}

TEST(Schedulers, RefuseImpossibleStepCounts) {
  for (const auto& name : scheduler_names()) {
    SCOPED_TRACE(name);
    const auto scheduler = make_scheduler(name, json::object());
    for (const int64_t n : {-1, 0, 1001})
      EXPECT_SAYS(message_of<UsageError>([&] { scheduler->set_timesteps(n); }), str("is ", n, ","));
  }
  EXPECT_SAYS(message_of<UsageError>([] { make_scheduler("pndm", json::object())->set_timesteps(3); }), "at least 4");
  const json offset = {{"steps_offset", 1}};
  EXPECT_SAYS(message_of<UsageError>([&] { make_scheduler("ddim", offset)->set_timesteps(1000); }), "1000");
  EXPECT_SAYS(message_of<UsageError>([] { make_scheduler("dpmsolver++", json::object())->set_timesteps(1000); }),
              "two steps");
  const json log_of_negative = {{"variance_type", "fixed_large_log"}};
  EXPECT_SAYS(message_of<UsageError>([&] { make_scheduler("ddpm", log_of_negative)->set_timesteps(10); }),
              "fixed_large_log");
}

TEST(Schedulers, RefuseStepsOutOfTurn) {
  auto generator = torch::make_generator<torch::CPUGeneratorImpl>();
  const auto x = torch::ones({1, 4, 2, 2});
  for (const auto& name : scheduler_names()) {
    SCOPED_TRACE(name);
    const auto scheduler = make_scheduler(name, {{"skip_prk_steps", true}});
    EXPECT_SAYS(message_of<UsageError>([&] { scheduler->step(x, 1, x, generator); }), "before set_timesteps");
    scheduler->set_timesteps(2);
    if (name != "dpmsolver++") message_of<UsageError>([&] { scheduler->step(x, 5000, x, generator); });
    if (name.starts_with("euler") || name == "dpmsolver++") {
      for (int64_t i = 0; i < 2; ++i) scheduler->step(x, scheduler->timesteps()[i].item<double>(), x, generator);
      EXPECT_SAYS(message_of<UsageError>([&] { scheduler->step(x, 0, x, generator); }), "more than its 2 steps");
    }
  }
}

TEST(Schedulers, RefuseTimestepsThatDoNotFitTheBatch) {
  const auto x = torch::ones({2, 4, 1, 1});
  for (const auto& name : scheduler_names()) {
    SCOPED_TRACE(name);
    const auto scheduler = make_scheduler(name, json::object());
    scheduler->set_timesteps(4);
    EXPECT_SAYS(message_of<Error>([&] { scheduler->add_noise(x, x, torch::zeros({3}, torch::kInt64)); }), "batch of 2");
  }
  const auto ddpm = make_scheduler("ddpm", json::object());
  EXPECT_SAYS(message_of<Error>([&] { ddpm->add_noise(x, x, torch::tensor({0, 1000})); }), "1000");
  EXPECT_SAYS(message_of<Error>([&] { ddpm->get_velocity(x, x, torch::tensor({-1, 0})); }), "-1");
  EXPECT_SAYS(message_of<Error>([&] { ddpm->add_noise(x, x, torch::tensor({0.5, 1.0})); }), "integers");
}

TEST(Schedulers, AddNoiseOfARunNeedsTheRun) {
  const auto x = torch::ones({1, 1});
  const auto euler = make_scheduler("euler", json::object());
  EXPECT_SAYS(message_of<UsageError>([&] { euler->add_noise(x, x, torch::tensor({999.0})); }), "set_timesteps");
  EXPECT_SAYS(message_of<UsageError>([&] { euler->init_noise_sigma(); }), "set_timesteps");
}

TEST(Schedulers, ASecondRunForgetsTheFirst) {
  for (const auto& name : scheduler_names()) {
    SCOPED_TRACE(name);
    const auto scheduler = make_scheduler(name, json::object());
    std::vector<torch::Tensor> ends;
    for (int round = 0; round < 2; ++round) {
      auto generator = torch::make_generator<torch::CPUGeneratorImpl>();
      generator.set_current_seed(3);
      scheduler->set_timesteps(6);
      auto x = torch::full({1, 4, 2, 2}, 0.5) * scheduler->init_noise_sigma();
      for (int64_t i = 0; i < scheduler->timesteps().size(0); ++i) {
        const double t = scheduler->timesteps()[i].item<double>();
        x = scheduler->step(scheduler->scale_model_input(x, t) * 0.3, t, x, generator);
      }
      ends.push_back(x);
    }
    EXPECT_TRUE(ends[0].equal(ends[1]));
  }
}

}  // namespace
}  // namespace lorikeet

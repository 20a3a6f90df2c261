#include "training/training_models.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/errors.h"
#include "training/training_test_support.h"

namespace lorikeet {
namespace {

std::string refusal(const std::vector<std::string>& rank_pattern) {
  TrainOptions options;
  options.rank_pattern = rank_pattern;
  try {
    SmallRun run(options);
  } catch (const UsageError& error) {
    EXPECT_FALSE(error.hint().empty()) << error.what();
    return error.what();
  }
  return "";
}

TEST(RankPattern, GivesLayersARankOfTheirOwn) {
  TrainOptions options;
  options.rank = 3;
  options.rank_pattern = std::vector<std::string>{"attn2.to_k=8", "*.attn2.*=2"};
  options.use_rslora = true;
  SmallRun run(options);
  std::set<int64_t> seen;
  for (const auto& [path, adapter] : run.models.unet_lora) {
    const bool is_cross = path.find(".attn2.") != std::string::npos;
    const int64_t rank = path.ends_with("attn2.to_k") ? 8 : is_cross ? 2 : 3;
    EXPECT_EQ(change_rank(adapter->values), rank) << path;
    EXPECT_DOUBLE_EQ(adapter->values.strength, std::sqrt(static_cast<double>(rank))) << path;
    seen.insert(rank);
  }
  EXPECT_EQ(seen.size(), 3u);
}

TEST(RankPattern, RefusesNamesThatNoAdaptedLayerAnswersTo) {
  EXPECT_NE(refusal({"attn2.to_z=8"}).find("no adapted layer is called attn2.to_z"), std::string::npos);
  EXPECT_NE(refusal({"conv_in=8"}).find("no adapted layer is called conv_in"), std::string::npos)
      << "it is a layer, but gets no adapter";
  EXPECT_NE(refusal({"to_k=8", "q_proj=4"}).find("q_proj"), std::string::npos) << "the text encoder does not train";
}

TEST(RankPattern, RefusesWhatIsNoNameAndRank) {
  for (const char* item : {"to_k", "=4", "to_k=", "to_k=0", "to_k=-1", "to_k=4x", "to_k=1.5", "to_k= 4", "",
                           "to_k=99999999999999999999"}) {
    EXPECT_NE(refusal({item}).find("NAME=RANK expected, found '" + std::string(item) + "'"), std::string::npos) << item;
  }
  EXPECT_NE(refusal({"to_k=99999999999"}).find("--rank_pattern"), std::string::npos);
}

TEST(TrainingModels, NameTheirParametersAndTheirRates) {
  TrainOptions options;
  options.train_text_encoder = true;
  SmallRun run(options);
  const auto parameters = run.models.trained_parameters(16);
  ASSERT_EQ(parameters.size(), 2 * (run.models.unet_lora.size() + run.models.text_lora.size()));
  std::set<std::string> names;
  for (const auto& parameter : parameters) {
    names.insert(parameter.name);
    EXPECT_EQ(parameter.rate_factor, parameter.name.ends_with(".up") ? 16 : 1) << parameter.name;
    EXPECT_TRUE(parameter.value.requires_grad());
    EXPECT_EQ(parameter.value.scalar_type(), torch::kFloat);
  }
  EXPECT_EQ(names.size(), parameters.size());
  EXPECT_TRUE(parameters.front().name.starts_with("unet."));
  EXPECT_TRUE(parameters.back().name.starts_with("text_encoder."));
}

TEST(TrainingModels, EveryAlgorithmTrainsFactorsOfItsOwn) {
  const std::map<std::string, std::set<std::string>> roles = {
      {"lora", {"down", "up"}},
      {"locon", {"down", "up"}},
      {"dora", {"down", "up", "magnitude"}},
      {"pissa", {"down", "up"}},
      {"loha", {"w1_a", "w1_b", "w2_a", "w2_b"}},
      {"lokr", {"w1", "w2", "w2_a", "w2_b"}},
  };
  for (const auto& [algorithm, expected] : roles) {
    TrainOptions options;
    options.algo = algorithm;
    options.train_text_encoder = true;
    options.rank = 4;  // lokr's second factor is whole where it is small
    SmallRun run(options);
    std::set<std::string> found;
    bool has_mlp = false, has_convolution = false;
    for (const auto& parameter : run.models.trained_parameters(16)) {
      const auto dot = parameter.name.rfind('.');
      found.insert(parameter.name.substr(dot + 1));
      EXPECT_EQ(parameter.rate_factor, parameter.name.ends_with(".up") ? 16 : 1) << parameter.name;
      has_mlp |= parameter.name.starts_with("text_encoder.") && parameter.name.find(".fc1.") != std::string::npos;
      has_convolution |= parameter.name.find(".conv1.") != std::string::npos;
    }
    EXPECT_EQ(found, expected) << algorithm;
    const bool is_wide = algorithm == "locon" || algorithm == "loha" || algorithm == "lokr";
    EXPECT_EQ(has_mlp, is_wide) << algorithm;
    EXPECT_EQ(has_convolution, is_wide) << algorithm;
    EXPECT_EQ(run.models.taken_out().empty(), algorithm != "pissa") << algorithm;
  }
}

TEST(TrainingModels, MissWhatPissaTookOut) {
  TrainOptions options;
  options.algo = "pissa";
  SmallRun run(options);
  auto tensors = run.models.taken_out();
  EXPECT_EQ(tensors.size(), 2 * run.models.unet_lora.size());
  EXPECT_NO_THROW(run.models.replace_taken_out(tensors));
  tensors.pop_back();
  EXPECT_THROW(run.models.replace_taken_out(tensors), FormatError);
  EXPECT_THROW(run.models.replace_taken_out({}), FormatError);
}

TEST(TrainingModels, RefusesATimestepBeyondTheSchedule) {
  TrainOptions options;
  options.max_timestep = 1001;
  EXPECT_THROW(SmallRun{options}, UsageError);
}

}  // namespace
}  // namespace lorikeet

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
    EXPECT_EQ(adapter->rank(), rank) << path;
    EXPECT_DOUBLE_EQ(adapter->strength(), std::sqrt(static_cast<double>(rank))) << path;
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

TEST(TrainingModels, RefusesATimestepBeyondTheSchedule) {
  TrainOptions options;
  options.max_timestep = 1001;
  EXPECT_THROW(SmallRun{options}, UsageError);
}

}  // namespace
}  // namespace lorikeet

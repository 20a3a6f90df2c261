#include "tracking/report_to.h"

#include <gtest/gtest.h>

#include <array>

#include "core/errors.h"

namespace lorikeet {
namespace {

std::array<bool, 3> names(const std::string& text) {
  const TrackerNames found = parse_report_to(text);
  return {found.tensorboard, found.wandb, found.jsonl};
}

std::pair<std::string, std::string> refusal(const std::string& text) {
  try {
    parse_report_to(text);
  } catch (const UsageError& error) {
    return {error.what(), error.hint()};
  }
  return {"not refused", ""};
}

TEST(ReportTo, NamesOneSeveralAllOrNone) {
  using Expected = std::array<bool, 3>;
  EXPECT_EQ(names("tensorboard"), (Expected{true, false, false}));
  EXPECT_EQ(names("wandb"), (Expected{false, true, false}));
  EXPECT_EQ(names("jsonl"), (Expected{false, false, true}));
  EXPECT_EQ(names("tensorboard,wandb"), (Expected{true, true, false}));
  EXPECT_EQ(names("jsonl, wandb"), (Expected{false, true, true}));
  EXPECT_EQ(names("all"), (Expected{true, true, true}));
  EXPECT_EQ(names("all,wandb"), (Expected{true, true, true}));
  EXPECT_EQ(names("none"), (Expected{false, false, false}));
}

TEST(ReportTo, RefusesWhatItDoesNotKnow) {
  const std::string expected = "; expected tensorboard, wandb, jsonl, several of them by comma, all or none";
  EXPECT_EQ(refusal("wand").first, "--report_to is 'wand'" + expected);
  EXPECT_EQ(refusal("wand").second, "did you mean wandb?");
  EXPECT_EQ(refusal("tensorboard,wndb").second, "did you mean wandb?");
  EXPECT_EQ(refusal("x").second, "`--help` describes --report_to");
  for (const char* text : {"", "tensorboard,", ",", "WANDB"}) EXPECT_NE(refusal(text).first, "not refused") << text;
  EXPECT_EQ(refusal("none,wandb").first, "--report_to is 'none,wandb'; 'none' stands alone");
  EXPECT_EQ(refusal("none,wandb").second, "leave out none, or the others");
}

TEST(ReportTo, RefusesAcceleratesOthersByName) {
  EXPECT_EQ(refusal("comet_ml").first.find("--report_to=comet_ml is not available"), 0u);
  EXPECT_EQ(refusal("tensorboard,mlflow").first.find("--report_to=mlflow is not available"), 0u);
  EXPECT_NE(refusal("comet_ml").second.find(".jsonl"), std::string::npos);
}

}  // namespace
}  // namespace lorikeet

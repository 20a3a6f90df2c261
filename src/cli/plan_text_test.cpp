#include <gtest/gtest.h>

#include "cli/training_observer.h"

namespace lorikeet {
namespace {

TEST(PlanText, TellsEveryFactOnALine) {
  TrainingPlan plan;
  plan.device = "Some CPU, 2 threads";
  plan.precision = "fp32";
  plan.pictures = "5 of the subject";
  plan.examples = plan.batches_per_epoch = 5;
  plan.epochs = 100;
  plan.batch_size = 1;
  plan.steps = 1500;
  plan.adapted_layers = 128;
  plan.trained_parameters = 797184;
  plan.memory_estimate = int64_t{3} << 29;
  EXPECT_EQ(plan_text(plan),
            "Device: Some CPU, 2 threads, fp32\n"
            "Pictures: 5 of the subject\n"
            "Steps: 1,500 of batch 1, 100 epochs of 5 batches\n"
            "Trained: 797,184 parameters in 128 layers\n"
            "Memory: about 1.5 GiB\n");
}

TEST(PlanText, TellsOfHeldOutPicturesAccumulationAndSkippedEntries) {
  TrainingPlan plan;
  plan.pictures = "40 with captions";
  plan.held_out = 4;
  plan.skipped = {"notes.txt", "raw"};
  plan.gradient_accumulation_steps = 4;
  plan.epochs = plan.batches_per_epoch = 1;
  const std::string text = plan_text(plan);
  EXPECT_NE(text.find("Pictures: 40 with captions\nHeld out: 4 of them, for the validation loss\n"), std::string::npos);
  EXPECT_NE(text.find("Skipped, being no pictures: notes.txt raw\n"), std::string::npos);
  EXPECT_NE(text.find(" x 4 accumulated, 1 epoch of 1 batch\n"), std::string::npos);
}

}  // namespace
}  // namespace lorikeet

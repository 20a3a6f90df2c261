#include "training/run_state.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/errors.h"
#include "core/text.h"
#include "data/dreambooth_loader.h"
#include "training/optimizer_test_support.h"
#include "training/run_state_json.h"
#include "training/training_test_support.h"

namespace lorikeet {
namespace {

/// A run without models: what it trains are four small tensors, by gradients that are known beforehand.
struct TinyRun {
  explicit TinyRun(const std::string& optimizer_name, bool has_average = true, bool has_scaler = true,
                   uint64_t seed = 1)
      : generators(make_training_generators(seed, torch::kCPU)), python_random(seed) {
    sets.push_back(open_set("tests/data/dreambooth_traces/pictures"));
    loader.emplace(sets, DreamboothLoader::Options{2, false, {"a photo"}}, generators.cpu);
    OptimizerOptions chosen;
    chosen.name = optimizer_name;
    optimizer = make_optimizer(chosen, parameters);
    if (has_average) average.emplace(parameters, 0.9);
    if (has_scaler) scaler.emplace(torch::kCPU, 1024.0, 2);
    dataset = dataset_json(sets);
    options = {{"rank", 4}, {"learning_rate", 1e-4}, {"output_dir", "here"}};
  }

  RunParts parts() {
    return {position,
            parameters,
            *optimizer,
            scaler ? &*scaler : nullptr,
            average ? &*average : nullptr,
            *loader,
            generators,
            python_random,
            dataset,
            options,
            overridable};
  }

  /// One step, with draws from all generators; what it saw, for comparison.
  std::string step() {
    if (!position.in_epoch) {
      loader->start_epoch();
      position.in_epoch = true;
    }
    const auto batch = *loader->next();
    auto seen = lorikeet::str(python_random.random(), " ", draw_seed(generators.device));
    for (const auto& picture : batch) {
      seen += lorikeet::str(" ", picture.index, "@", picture.crop.top, ",", picture.crop.left);
    }
    set_small_gradients(parameters, position.step);
    if (scaler) {
      std::vector<torch::Tensor> gradients;
      for (const auto& parameter : parameters) gradients.push_back(parameter.value.grad() * scaler->scale());
      scaler->unscale(gradients);
      scaler->update();
      seen += lorikeet::str(" ", scaler->scale());
    }
    optimizer->step(0.01);
    if (average) average->update();
    ++position.step;
    ++position.lr_steps;
    position.in_epoch = !loader->is_last();
    position.epoch += !position.in_epoch;
    return seen;
  }

  std::vector<TrainedParameter> parameters = small_problem();
  TrainingGenerators generators;
  PythonRandom python_random;
  PictureSets sets;
  std::optional<DreamboothLoader> loader;
  std::unique_ptr<Optimizer> optimizer;
  std::optional<LoraAverage> average;
  std::optional<GradScaler> scaler;
  RunPosition position;
  nlohmann::json dataset, options;
  std::set<std::string> overridable;
};

void expect_same(const TinyRun& ours, const TinyRun& theirs) {
  for (size_t i = 0; i < ours.parameters.size(); ++i) {
    EXPECT_TRUE(torch::equal(ours.parameters[i].value, theirs.parameters[i].value)) << ours.parameters[i].name;
    if (ours.average) {
      EXPECT_TRUE(torch::equal(ours.average->values()[i], theirs.average->values()[i]));
    }
  }
  EXPECT_EQ(ours.position.step, theirs.position.step);
  EXPECT_EQ(ours.position.epoch, theirs.position.epoch);
}

/// A copy that shares no memory with the run, through the files of a checkpoint.
CheckpointState through_files(const CheckpointState& state) {
  const TemporaryFolder folder;
  write_checkpoint(folder.path(), 1, state, [](const std::filesystem::path&) {});
  return read_checkpoint(folder / "checkpoint-1");
}

class RunStateTest : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Optimizers, RunStateTest, ::testing::ValuesIn(optimizer_names()));

TEST_P(RunStateTest, GoesOnAsIfItHadNeverStopped) {
  for (const bool with_extras : {true, false}) {
    TinyRun unbroken(GetParam(), with_extras, with_extras);
    for (int i = 0; i < 5; ++i) unbroken.step();  // into the second epoch, with a batch that is drawn and not taken
    unbroken.position.skipped = 3;
    unbroken.position.skipped_in_row = 1;
    unbroken.position.logged = 12;
    unbroken.position.best_validation_loss = 0.1 + 0.2;
    unbroken.position.validations_since_best = 2;
    const auto saved = through_files(save_run(unbroken.parts()));
    TinyRun resumed(GetParam(), with_extras, with_extras, /*seed=*/99);
    resumed.step();
    restore_run(resumed.parts(), saved);
    EXPECT_EQ(resumed.position.skipped, 3);
    EXPECT_EQ(resumed.position.skipped_in_row, 1);
    EXPECT_EQ(resumed.position.logged, 12);
    EXPECT_EQ(resumed.position.lr_steps, 5);
    EXPECT_EQ(resumed.position.best_validation_loss, 0.1 + 0.2);
    EXPECT_EQ(resumed.position.validations_since_best, 2);
    expect_same(resumed, unbroken);
    for (int i = 0; i < 6; ++i) EXPECT_EQ(resumed.step(), unbroken.step());
    expect_same(resumed, unbroken);
    EXPECT_EQ(save_run(resumed.parts()).values, save_run(unbroken.parts()).values);
  }
}

TEST_P(RunStateTest, SavesTheSameStateAgain) {
  TinyRun run(GetParam());
  for (int i = 0; i < 4; ++i) run.step();
  const auto first = through_files(save_run(run.parts()));
  restore_run(run.parts(), first);
  const auto second = through_files(save_run(run.parts()));
  EXPECT_EQ(first.values, second.values);
  ASSERT_EQ(first.tensors.size(), second.tensors.size());
  for (size_t i = 0; i < first.tensors.size(); ++i) {
    EXPECT_EQ(first.tensors[i].first, second.tensors[i].first);
    EXPECT_TRUE(torch::equal(first.tensors[i].second, second.tensors[i].second)) << first.tensors[i].first;
  }
}

class DamagedRunState : public ::testing::Test {
 protected:
  DamagedRunState() {
    for (int i = 0; i < 4; ++i) run_.step();
    state_ = through_files(save_run(run_.parts()));
  }
  /// What restore_run says of the state; empty when it takes it.
  std::string refusal(const CheckpointState& state) {
    try {
      restore_run(run_.parts(), state);
    } catch (const FormatError& error) {
      EXPECT_FALSE(error.hint().empty()) << error.what();
      return error.what();
    } catch (const UsageError& error) {
      EXPECT_FALSE(error.hint().empty()) << error.what();
      return error.what();
    }
    return "";
  }
  CheckpointState with(const std::string& pointer, const nlohmann::json& value) const {
    auto state = state_;
    state.values[nlohmann::json::json_pointer(pointer)] = nlohmann::json::parse(value.dump());  // as a file has it
    return state;
  }

  TinyRun run_{"prodigy"};  // it has numbers of its own beside its tensors
  CheckpointState state_;
};

TEST_F(DamagedRunState, RefusesEveryValueThatCannotBeOne) {
  ASSERT_EQ(refusal(state_), "");
  const auto flat = state_.values.flatten();
  const nlohmann::json wrong[] = {
      nullptr, true, -1, 1e300, 0.5, "text", uint64_t(1) << 63, nlohmann::json::array(), nlohmann::json::object()};
  int refused = 0, taken = 0;
  for (const auto& [pointer, old] : flat.items()) {
    // Of 625 words of Python's state, and of options and pictures, a few are as good as all.
    if (pointer.starts_with("/python_random/") && pointer.size() == 18 && pointer < "/python_random/620") continue;
    for (const auto& value : wrong) {
      if (value == old) continue;
      SCOPED_TRACE(pointer + " = " + value.dump());
      refusal(with(pointer, value)).empty() ? ++taken : ++refused;
    }
    auto state = state_;
    const auto parent = nlohmann::json::json_pointer(pointer).parent_pointer();
    auto& holder = state.values[parent];
    if (holder.is_object()) {
      holder.erase(nlohmann::json::json_pointer(pointer).back());
      const bool is_option = pointer.starts_with("/options/");
      EXPECT_EQ(refusal(state).empty(), is_option) << pointer << " is missing";
    }
  }
  EXPECT_GT(refused, 10 * taken) << refused << " refused, " << taken << " taken";
  ASSERT_EQ(refusal(state_), "") << "the run itself is unharmed";
}

TEST_F(DamagedRunState, NamesTheValue) {
  EXPECT_NE(refusal(with("/step", -1)).find("step is -1"), std::string::npos);
  EXPECT_NE(refusal(with("/loader/position", 1e300)).find("position is 1e+300"), std::string::npos);
  EXPECT_NE(refusal(with("/format", 1)).find("format 1, expected 2"), std::string::npos);
  EXPECT_NE(refusal(with("/python_random/3", uint64_t(1) << 33)).find("more than 32 bits"), std::string::npos);
  EXPECT_NE(refusal(with("/python_random", {1, 2})).find("625 words"), std::string::npos);
  EXPECT_NE(refusal(with("/scaler/scale", -2)).find("scale"), std::string::npos);
  EXPECT_NE(refusal(with("/scaler/scale", 0)).find("scale"), std::string::npos);
  EXPECT_NE(refusal(with("/scaler/scale", 1e300)).find("scale"), std::string::npos);
  EXPECT_NE(refusal(with("/scaler/growth_tracker", uint64_t(1) << 40)).find("growth_tracker"), std::string::npos);
  EXPECT_NE(refusal(with("/loader/pending/0/index", 6)).find("not there"), std::string::npos);
  EXPECT_NE(refusal(with("/loader/pending/0/top", 4000)).find("not there"), std::string::npos);
  EXPECT_NE(refusal(with("/loader/order/0", 6)).find("examples"), std::string::npos);
}

TEST_F(DamagedRunState, RefusesTensorsThatAreMissingOrUnlikeThisRuns) {
  for (size_t i = 0; i < state_.tensors.size(); ++i) {
    const auto& name = state_.tensors[i].first;
    SCOPED_TRACE(name);
    auto state = state_;
    state.tensors[i].first = "other." + name;
    EXPECT_NE(refusal(state), "");
    state = state_;
    state.tensors[i].second = torch::zeros({2, 2, 2});
    EXPECT_NE(refusal(state), "");
    state.tensors[i].second = torch::zeros({});
    EXPECT_NE(refusal(state), "");
    state.tensors[i].second = state_.tensors[i].second.to(torch::kLong);
    EXPECT_NE(refusal(state), "");
  }
  ASSERT_EQ(refusal(state_), "");
}

TEST_F(DamagedRunState, SurvivesDamagedGeneratorStates) {
  for (size_t i = 0; i < state_.tensors.size(); ++i) {
    if (!state_.tensors[i].first.starts_with("generator.")) continue;
    for (int64_t at = 0; at < state_.tensors[i].second.numel(); at += 7) {
      auto state = state_;
      state.tensors[i].second = state.tensors[i].second.clone();
      state.tensors[i].second[at].fill_(0xA5);
      refusal(state);  // whatever it says, drawing goes on
      draw_seed(run_.generators.cpu);
    }
  }
}

TEST_F(DamagedRunState, RefusesThoseOfAnotherOptimizerAndOfARunWithoutAnAverage) {
  TinyRun lion("lion");
  EXPECT_THROW(restore_run(lion.parts(), state_), FormatError);
  TinyRun plain("prodigy", false, false);
  plain.step();
  const auto saved = save_run(plain.parts());
  EXPECT_THROW(restore_run(run_.parts(), saved), FormatError) << "an average and a scaler are missing";
}

TEST_F(DamagedRunState, RefusesOtherOptionsAndPictures) {
  EXPECT_NE(refusal(with("/options/learning_rate", 1e-3)).find("--learning_rate=0.001, now it is 0.0001"),
            std::string::npos);
  EXPECT_EQ(refusal(with("/options/output_dir", "there")), "");
  run_.overridable = {"learning_rate"};
  EXPECT_EQ(refusal(with("/options/learning_rate", 1e-3)), "");
  EXPECT_NE(refusal(with("/dataset/2/1", "0123456789ab")).find("2-turned.jpg or its caption"), std::string::npos);
}

}  // namespace
}  // namespace lorikeet

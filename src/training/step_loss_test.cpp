// A step's loss, against the same arithmetic written out with its parts and draws from a generator of the test's own.
#include "training/step_loss.h"

#include <gtest/gtest.h>

#include "training/evaluation.h"
#include "training/loss_weights.h"
#include "training/training_test_support.h"

namespace lorikeet {
namespace {

PictureBatch two_pictures() {
  return {picture(0, 0, {0, 3}, false, "a lorikeet"), picture(0, 1, {}, true, "a photo of a cat")};
}

PictureBatch with_classes() {
  auto batch = two_pictures();
  batch.push_back(picture(1, 0, {}, false, "a bird"));
  batch.push_back(picture(1, 3, {}, false, "a bird"));
  return batch;
}

/// What a step draws, and what it compares.
struct Step {
  torch::Tensor latents, noise, disturbed, timesteps, prediction;
  torch::Tensor errors() const { return (prediction - noise).square(); }
};

/// The steps of a run that has every option off but those written out in `draw_noise`.
struct Witness {
  /// Begins the run's draws anew, so that both draw alike.
  explicit Witness(SmallRun& run) : run(run), generator(make_generator(7)) {
    run.generators = make_training_generators(7, torch::kCPU);
  }

  Step step(const PictureBatch& batch) {
    torch::NoGradGuard no_grad;
    Step step;
    std::vector<torch::Tensor> pixels, means, deviations;
    std::vector<std::string> captions;
    for (const auto& picture : batch) {
      auto& set = *run.sets[static_cast<size_t>(picture.set)];
      pixels.push_back(set.pixels(picture.index, picture.crop, picture.flip).unsqueeze(0));
      const auto distribution = run.models.parts.vae->encode(pixels.back());
      means.push_back(distribution.mean);
      deviations.push_back(distribution.std);
      captions.push_back(picture.caption);
    }
    // The scripts encode a batch at once, and draw noise in the memory order of what comes out.
    const auto like = run.models.parts.vae->encode(torch::cat(pixels)).std;
    const auto mean = torch::cat(means);
    const auto sample = mean + torch::cat(deviations) * draw_normal(mean.sizes(), generator, torch::kFloat);
    step.latents = torch::empty_like(like).copy_(sample) * run.models.vae_scaling_factor;
    step.noise = step.disturbed = draw_noise(like);
    if (run.options.input_perturbation != 0) {
      step.disturbed = step.noise + run.options.input_perturbation * drawn_like(step.noise);
    }
    const auto rows = static_cast<int64_t>(batch.size());
    step.timesteps =
        torch::randint(run.options.min_timestep, run.options.max_timestep, {rows}, generator, torch::kLong);
    TextMemory texts(run.models, run.options, run.precision, {});
    const auto noisy = run.models.noise_scheduler->add_noise(step.latents, step.disturbed, step.timesteps);
    step.prediction = run.models.parts.unet->forward(noisy, step.timesteps, texts.embeddings(captions));
    return step;
  }

  torch::Tensor draw_noise(const torch::Tensor& like) {
    const auto& options = run.options;
    auto noise = drawn_like(like);
    if (options.noise_offset != 0) {
      noise = noise + options.noise_offset * draw_normal({like.size(0), 4, 1, 1}, generator, torch::kFloat);
    }
    double strength = 1, side = 16;
    for (int64_t i = 0; i < options.multires_noise_iterations && side > 1; ++i) {
      const double ratio = 2 + 2 * torch::rand({1}, generator, torch::kFloat).item<double>();
      side = std::max(1.0, std::floor(16 / std::pow(ratio, i)));
      const auto size = static_cast<int64_t>(side);
      const auto coarse = draw_normal({like.size(0), 4, size, size}, generator, torch::kFloat);
      namespace F = torch::nn::functional;
      const auto way =
          F::InterpolateFuncOptions().size(std::vector<int64_t>{16, 16}).mode(torch::kBilinear).align_corners(false);
      noise = noise + strength * F::interpolate(coarse, way);
      strength *= options.multires_noise_discount;
    }
    return options.multires_noise_iterations > 0 ? noise / noise.std() : noise;
  }

  /// torch.randn_like
  torch::Tensor drawn_like(const torch::Tensor& like) { return torch::empty_like(like).normal_(0, 1, generator); }

  SmallRun& run;
  torch::Generator generator;
};

class StepLossTest : public ::testing::Test {
 protected:
  StepLossTest() { run_.options.encode_memory = "off"; }
  static void expect_close(const torch::Tensor& found, const torch::Tensor& expected) {
    ASSERT_EQ(found.scalar_type(), torch::kFloat);
    ASSERT_EQ(found.dim(), 0);
    EXPECT_NEAR(found.item<double>(), expected.item<double>(), 2e-6 * (1 + std::abs(expected.item<double>())));
  }
  /// The loss, and that it drew what the witness drew.
  void expect_loss(const PictureBatch& batch, const std::function<torch::Tensor(const Step&)>& wanted, int steps = 1) {
    Witness witness(run_);
    auto loss = run_.loss();
    for (int i = 0; i < steps; ++i) {
      expect_close(loss(batch), wanted(witness.step(batch)));
      EXPECT_TRUE(torch::equal(generator_state(run_.generators.device), generator_state(witness.generator)));
    }
  }

  SmallRun run_;
};

torch::Tensor mean_error(const Step& step) { return step.errors().mean(); }

TEST_F(StepLossTest, IsTheMeanSquaredErrorAndDrawsNothingForWhatIsOff) { expect_loss(two_pictures(), mean_error, 3); }

TEST_F(StepLossTest, NoiseOffsetShiftsEachChannel) {
  run_.options.noise_offset = 0.5;
  expect_loss(two_pictures(), mean_error);
}

TEST_F(StepLossTest, CoarserNoiseIsAddedUntilItsLayersHaveOneValue) {
  run_.options.multires_noise_iterations = 6;
  expect_loss(two_pictures(), mean_error);
  Witness witness(run_);
  EXPECT_NEAR(witness.step(two_pictures()).noise.std().item<double>(), 1, 1e-6);
}

TEST_F(StepLossTest, InputPerturbationDisturbsTheInputAndNotTheTarget) {
  run_.options.input_perturbation = 0.25;
  expect_loss(two_pictures(), mean_error);
}

TEST_F(StepLossTest, AllKindsOfNoiseDrawInOneOrder) {
  run_.options.noise_offset = 0.1;
  run_.options.multires_noise_iterations = 3;
  run_.options.input_perturbation = 0.1;
  expect_loss(two_pictures(), mean_error);
}

TEST_F(StepLossTest, TimestepsStayInTheirRange) {
  run_.options.min_timestep = 700;
  run_.options.max_timestep = 702;
  expect_loss(two_pictures(), [](const Step& step) {
    EXPECT_TRUE(((step.timesteps >= 700) & (step.timesteps < 702)).all().item<bool>());
    return mean_error(step);
  });
}

TEST_F(StepLossTest, WeighsEachRow) {
  run_.options.snr_gamma = 5;
  expect_loss(two_pictures(), [&](const Step& step) {
    const auto& alphas = run_.models.noise_scheduler->noise_schedule().alphas_cumprod;
    const auto ratio = alphas.index({step.timesteps}) / (1 - alphas.index({step.timesteps}));
    return (step.errors().mean({1, 2, 3}) * ratio.clamp_max(5) / ratio).mean();
  });
}

TEST_F(StepLossTest, ForgivesOutliers) {
  run_.options.loss_type = "huber";
  run_.options.huber_schedule = "constant";
  run_.options.huber_c = 0.3;
  expect_loss(two_pictures(),
              [](const Step& step) { return (2 * 0.3 * ((step.errors() + 0.09).sqrt() - 0.3)).mean(); });
}

TEST_F(StepLossTest, ComparesVelocities) {
  TrainOptions options;
  options.prediction_type = "v_prediction";
  SmallRun run(options);
  Witness witness(run);
  const auto step = witness.step(two_pictures());
  const auto alpha = run.models.noise_scheduler->noise_schedule().alphas_cumprod.index({step.timesteps});
  const auto a = alpha.view({2, 1, 1, 1});
  const auto velocity = a.sqrt() * step.noise - (1 - a).sqrt() * step.latents;
  expect_close(run.loss()(two_pictures()), (step.prediction - velocity).square().mean());
}

TEST_F(StepLossTest, PriorPreservationComparesTheHalvesApart) {
  for (const double weight : {0.0, 1.0, 0.25}) {
    Witness witness(run_);
    const auto errors = witness.step(with_classes()).errors();
    expect_close(run_.loss(weight)(with_classes()), errors.slice(0, 0, 2).mean() + weight * errors.slice(0, 2).mean());
  }
}

TEST_F(StepLossTest, GivesGradientsToTheAdaptersAlone) {
  run_.loss()(two_pictures()).backward();
  for (const auto& parameter : run_.models.trained_parameters()) {
    EXPECT_TRUE(parameter.value.grad().defined() && parameter.value.grad().ne(0).any().item<bool>()) << parameter.name;
  }
  for (const auto& parameter : run_.models.parts.unet->parameters()) EXPECT_FALSE(parameter.grad().defined());
}

/// Two pictures of which the first counts in its left half, and the second everywhere.
class MaskedLossTest : public StepLossTest {
 protected:
  MaskedLossTest() {
    write_image(folder_ / "0.png", noise(64, 64));
    write_image(folder_ / "1.jpg", noise(64, 64));
    write_mask(32);
    run_.options.masked_loss = true;
  }
  /// White left of this column.
  void write_mask(size_t column) {
    Image mask = noise(64, 64);
    for (size_t i = 0; i < mask.pixels.size(); ++i) mask.pixels[i] = i / 3 % 64 < column ? 255 : 0;
    write_image(folder_ / "0.mask.png", mask);
    run_.sets.clear();
    run_.sets.push_back(open_set(folder_.path()));
  }
  TemporaryFolder folder_;
  const PictureBatch batch_ = {picture(0, 0, {}, false, "a"), picture(0, 1, {}, false, "b")};
};

TEST_F(MaskedLossTest, CountsWhereTheMaskIsWhite) {
  expect_loss(batch_, [](const Step& step) {
    const auto errors = step.errors();
    return (errors[0].slice(2, 0, 8).sum() + errors[1].sum()) / errors.numel();
  });
}

TEST_F(MaskedLossTest, CountsAPartOfALatentAsMuchAsIsWhite) {
  write_mask(34);  // of four columns that make a latent, two
  expect_loss(batch_, [](const Step& step) {
    const auto errors = step.errors();
    return (errors[0].slice(2, 0, 8).sum() + errors[0].select(2, 8).sum() / 2 + errors[1].sum()) / errors.numel();
  });
}

TEST_F(MaskedLossTest, MirrorsTheMaskWithThePicture) {
  expect_loss({picture(0, 0, {}, true, "a")},
              [](const Step& step) { return step.errors().slice(3, 8).sum() / step.errors().numel(); });
}

TEST_F(MaskedLossTest, IsNothingUnderABlackMask) {
  write_mask(0);
  EXPECT_EQ(run_.loss()({picture(0, 0, {}, false, "a")}).item<double>(), 0);
}

TEST_F(StepLossTest, AtGivesThePlainErrorOfTheMeanAndDrawsNothing) {
  TrainOptions options;
  options.lora_dropout = 0.5;
  options.snr_gamma = 5;
  options.loss_type = "huber";
  options.noise_offset = 0.3;
  options.multires_noise_iterations = 2;
  options.input_perturbation = 0.2;
  options.masked_loss = true;
  SmallRun run(options);
  set_training(run.models, true);
  auto loss = run.loss();
  const auto chosen = two_pictures()[0];
  auto generator = make_generator(3);
  const auto noise = draw_normal({1, 4, 16, 16}, generator, torch::kFloat);
  const auto before = generator_state(run.generators.device).clone();
  const EvaluationMode evaluation(run.models);
  const auto pixels = run.sets[0]->pixels(chosen.index, chosen.crop).unsqueeze(0);
  const auto latents = run.models.parts.vae->encode(pixels).mean * run.models.vae_scaling_factor;
  for (const int64_t timestep : {0, 500, 999}) {
    const auto times = torch::tensor({timestep});
    const auto noisy = run.models.noise_scheduler->add_noise(latents, noise, times);
    const auto predicted = run.models.parts.unet->forward(noisy, times, loss.texts().embeddings({chosen.caption}));
    const double expected = (predicted - noise).square().mean().item<double>();
    EXPECT_NEAR(loss.at(chosen, noise, timestep), expected, 1e-6 * (1 + expected));
  }
  EXPECT_TRUE(torch::equal(generator_state(run.generators.device), before));
}

}  // namespace
}  // namespace lorikeet

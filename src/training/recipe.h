// What one training recipe does differently from another; everything else is the loop's (training/trainer.h).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "engine/python_random.h"
#include "training/observer.h"
#include "training/training_models.h"

namespace lorikeet {

/// What a recipe works with before the models are loaded.
struct RunContext {
  TrainingObserver& observer;
  bool dry;  // look only, make nothing
  ModelSource model;
  TrainingPrecision precision;
  TrainingGenerators generators;
  PythonRandom python_random{0};
  PictureSets sets;  // the recipe fills it; set 0 is what validation pictures are held out of
};

class Recipe {
 public:
  virtual ~Recipe() = default;
  virtual const TrainOptions& options() const = 0;
  /// All options as one JSON object, secrets left out.
  virtual std::string options_json() const = 0;

  struct Manner {
    std::string tracker;            // what Diffusers' script calls its tracker project
    bool logs_batches = false;      // each micro-step's loss and rate, else each optimizer step's loss
    int64_t validation_steps = 50;  // of the sampler
    int64_t final_validation_steps = 25;
    std::optional<std::string> validation_scheduler;  // unset: the model's own
    bool script_clips_nothing = false;                // the script's --max_grad_norm has no effect: --compat_bugs
  };
  virtual Manner manner() const = 0;

  /// Opens the pictures, and makes those that are missing.
  virtual void open(RunContext& context) = 0;
  /// The texts that are known to be trained on before the data is opened.
  virtual std::vector<std::string> prompts() const = 0;
  /// After the adapters were injected.
  virtual std::unique_ptr<Loader> make_loader(RunContext& context) = 0;
  /// With prior preservation.
  virtual std::optional<double> prior_loss_weight() const { return std::nullopt; }
  /// The caption that a picture of set 0 is validated with.
  virtual std::string validation_caption(const PictureRecord& record) const = 0;

  /// Every cut, and every text, that the run may meet; empty where they cannot be listed.
  struct Inputs {
    std::vector<PictureRef> cuts;
    std::vector<std::string> texts;
  };
  virtual Inputs inputs(const RunContext& context, const Loader& loader) const = 0;
  /// Fills in pictures and skipped.
  virtual void describe(const RunContext& context, TrainingPlan& plan) const = 0;
  /// Examples and batches of an epoch, of pictures that do not exist yet in a dry run included.
  virtual int64_t examples(const RunContext& context, const Loader& loader) const { return loader.examples(); }
};

}  // namespace lorikeet

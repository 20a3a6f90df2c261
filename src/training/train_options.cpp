#include "training/train_options.h"

#include <cctype>
#include <cstdlib>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

int64_t environment_number(const char* name, int64_t otherwise) {
  const auto text = environment(name);
  if (!text) return otherwise;
  char* end = nullptr;
  const long long value = std::strtoll(text->c_str(), &end, 10);
  if (*end != '\0') {
    throw UsageError(str("the environment's ", name, ": a whole number expected, found '", *text, "'"), "unset it");
  }
  return value;
}

/// Yes and no as accelerate reads them.
bool environment_flag(const char* name) {
  auto text = environment(name).value_or("no");
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text == "1" || text == "true" || text == "yes" || text == "y" || text == "t" || text == "on";
}

/// What LyCORIS' own default reaches, in its words the preset full.
bool reaches_everything(const std::string& algo) { return algo == "locon" || algo == "loha" || algo == "lokr"; }

}  // namespace

std::vector<std::string> TrainOptions::unet_targets() const {
  if (target_modules) return *target_modules;
  if (reaches_everything(algo)) return {"*"};
  return {"to_k", "to_q", "to_v", "to_out.0"};
}

std::vector<std::string> TrainOptions::text_encoder_targets() const {
  if (text_encoder_target_modules) return *text_encoder_target_modules;
  if (reaches_everything(algo)) return {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"};
  return {"q_proj", "k_proj", "v_proj", "out_proj"};
}

void apply_environment(TrainOptions& options) {
  if (const int64_t processes = environment_number("WORLD_SIZE", 1); processes > 1) {
    throw UsageError(str("training in several processes is not available yet, and WORLD_SIZE is ", processes),
                     "launch one process: `accelerate launch --num_processes=1 --no_python lorikeet ...`");
  }
  const int64_t rank = environment_number("LOCAL_RANK", -1);
  if (rank != -1) options.local_rank = rank;
  if (options.device == "auto" && environment_flag("ACCELERATE_USE_CPU")) options.device = "cpu";
  if (const int64_t group = environment_number("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", 1);
      group != 1 && group != options.gradient_accumulation_steps) {
    throw UsageError(str("the environment's ACCELERATE_GRADIENT_ACCUMULATION_STEPS is ", group,
                         ", but --gradient_accumulation_steps is ", options.gradient_accumulation_steps),
                     str("give --gradient_accumulation_steps=", group, ", or unset the variable"));
  }
  if (options.mixed_precision) return;
  if (const auto precision = environment("ACCELERATE_MIXED_PRECISION")) {
    if (*precision != "no" && *precision != "fp16" && *precision != "bf16") {
      throw UsageError(
          str("the environment's ACCELERATE_MIXED_PRECISION: one of no, fp16, bf16 expected, found '", *precision, "'"),
          "give --mixed_precision, which goes before it");
    }
    options.mixed_precision = precision;
  }
}

}  // namespace lorikeet

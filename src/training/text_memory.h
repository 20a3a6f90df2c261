// Captions as the UNet reads them: encoded once while the text encoder is frozen, anew each time while it learns.
#pragma once

#include <torch/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "training/latent_memory.h"
#include "training/tensor_shelf.h"
#include "training/training_models.h"

namespace lorikeet {

/// Every caption of a frozen text encoder is encoded alone, so that with and without memory the bits are the same.
class TextMemory {
 public:
  /// All must outlive this. `folder` is for EncodeMemory::kDisk.
  TextMemory(TrainingModels& models, const TrainOptions& options, const TrainingPrecision& precision,
             const std::filesystem::path& folder);

  /// Hidden states [B, T, D] of these captions: in the frozen encoder's dtype, or float32 with gradients.
  torch::Tensor embeddings(const std::vector<std::string>& captions);

  /// Encodes a caption, so that it is remembered. False when memory is full or off.
  bool remember(const std::string& caption);
  bool has_room_for(size_t captions) const;
  /// The text encoder is let go: from here on only what is remembered can be asked for.
  void release() { released_ = true; }

 private:
  struct Tokens {
    torch::Tensor ids, mask;  // [1, T]; the mask is undefined unless it is used
  };
  Tokens tokenize(const std::string& caption) const;
  torch::Tensor encode(const std::string& caption);
  torch::Tensor compute(const std::string& caption);
  torch::Tensor encode_learning(const std::vector<std::string>& captions);

  TrainingModels& models_;
  const TrainOptions& options_;
  const TrainingPrecision& precision_;
  EncodeMemory memory_;
  std::optional<EncodeStore> store_;
  std::map<std::string, torch::Tensor> known_;
  TensorShelf shelf_;
  int64_t known_bytes_ = 0;
  bool released_ = false;
};

}  // namespace lorikeet

// What the frozen VAE and text encoder make of an input never changes, so it is computed once and remembered.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "data/dreambooth_loader.h"
#include "models/autoencoder_kl.h"

namespace lorikeet {

/// The latent distribution of each picture cut. Every cut is encoded alone, so that what is remembered does not depend
/// on the batch it was first met in: a resumed run gets the same bits.
class LatentMemory {
 public:
  /// `classes` may be null. All must outlive this.
  LatentMemory(AutoencoderKL& vae, PictureFolder& instances, PictureFolder* classes);

  /// Mean and standard deviation, each [B, C, h, w], in the VAE's dtype, and in the memory layout that encoding the
  /// whole batch at once gives: noise that is drawn like them is drawn in the order of their memory.
  struct Moments {
    torch::Tensor mean, std;
  };
  Moments moments(const PictureBatch& batch);

 private:
  Moments encode(const PictureRef& picture);
  torch::MemoryFormat layout(const PictureBatch& batch);

  AutoencoderKL& vae_;
  PictureFolder& instances_;
  PictureFolder* classes_;
  std::map<std::tuple<bool, int64_t, int64_t, int64_t>, Moments> known_;
  int64_t known_bytes_ = 0;
  std::optional<torch::MemoryFormat> batch_layout_;
};

}  // namespace lorikeet

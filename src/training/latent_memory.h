// What the frozen VAE makes of a picture never changes, so it is computed once and remembered.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "data/batch.h"
#include "models/autoencoder_kl.h"
#include "training/encode_store.h"
#include "training/tensor_shelf.h"

namespace lorikeet {

/// Where encoded inputs are kept.
enum class EncodeMemory { kMemory, kDisk, kOff };
/// "memory" -> kMemory; throws UsageError naming the choices.
EncodeMemory parse_encode_memory(const std::string& name);

/// The latent distribution of each picture cut. Every cut is encoded alone, so that what is remembered does not depend
/// on the batch it was first met in: with and without memory, and in a resumed run, the bits are the same.
class LatentMemory {
 public:
  struct Options {
    EncodeMemory memory = EncodeMemory::kMemory;
    std::filesystem::path folder;  // for kDisk
    std::string transform;         // what of resizing the pixels depend on, for keys on disk
  };
  /// The sets must outlive this.
  LatentMemory(std::shared_ptr<AutoencoderKL> vae, PictureSets& sets, Options options);

  /// Mean and standard deviation, each [B, C, h, w], in the VAE's dtype, and in the memory layout that encoding the
  /// whole batch at once gives: noise that is drawn like them is drawn in the order of their memory.
  struct Moments {
    torch::Tensor mean, std;
  };
  Moments moments(const PictureBatch& batch);

  /// Encodes one cut, so that it is remembered. False when memory is full or off.
  bool remember(const PictureRef& picture);
  /// Whether so many cuts of this size in pixels fit into memory.
  bool has_room_for(int64_t cuts, PictureExtent extent) const;
  /// From here on only what is remembered can be asked for; the VAE is let go. `largest_batch` is the largest to come.
  void release_vae(const PictureRef& any, int64_t largest_batch);

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, bool>;
  Moments encode(const PictureRef& picture);
  Moments compute(const PictureRef& picture);
  Moments compute_finite(const torch::Tensor& pixels);
  torch::MemoryFormat layout(const PictureRef& picture, size_t rows);
  PictureSet& set_of(const PictureRef& picture) { return *sets_.at(static_cast<size_t>(picture.set)); }

  std::shared_ptr<AutoencoderKL> vae_;
  PictureSets& sets_;
  Options options_;
  torch::Device device_;
  torch::ScalarType dtype_;
  bool overflowed_ = false;
  std::optional<EncodeStore> store_;
  std::map<Key, Moments> known_;
  TensorShelf shelf_;
  int64_t known_bytes_ = 0;
  int64_t bytes_per_pixel_ = 0;  // of the picture, times 1024
  std::optional<torch::MemoryFormat> batch_layout_;
};

}  // namespace lorikeet

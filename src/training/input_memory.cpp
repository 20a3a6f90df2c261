#include "training/input_memory.h"

#include "pipelines/components.h"

namespace lorikeet {
namespace {

constexpr int64_t kMemoryBytes = int64_t{1} << 29;

}  // namespace

LatentMemory::LatentMemory(AutoencoderKL& vae, PictureFolder& instances, PictureFolder* classes)
    : vae_(vae), instances_(instances), classes_(classes) {}

LatentMemory::Moments LatentMemory::moments(const PictureBatch& batch) {
  std::vector<torch::Tensor> means, deviations;
  for (const auto& picture : batch) {
    const auto moments = encode(picture);
    means.push_back(moments.mean);
    deviations.push_back(moments.std);
  }
  const auto format = layout(batch);
  return {torch::cat(means).contiguous(format), torch::cat(deviations).contiguous(format)};
}

torch::MemoryFormat LatentMemory::layout(const PictureBatch& batch) {
  if (batch.size() == 1) return torch::MemoryFormat::Contiguous;
  if (!batch_layout_) {
    // Which layout comes out of several pictures at once depends on the VAE's blocks and on the device: try it.
    torch::NoGradGuard no_grad;
    PictureFolder& folder = batch[0].is_class ? *classes_ : instances_;
    const auto pixels = folder.pixels(batch[0].index, batch[0].crop).unsqueeze(0).repeat({2, 1, 1, 1});
    const auto deviation = vae_.encode(pixels.to(module_device(vae_), module_dtype(vae_))).std;
    batch_layout_ = deviation.suggest_memory_format();
  }
  return *batch_layout_;
}

LatentMemory::Moments LatentMemory::encode(const PictureRef& picture) {
  const auto key = std::make_tuple(picture.is_class, picture.index, picture.crop.top, picture.crop.left);
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  torch::NoGradGuard no_grad;
  PictureFolder& folder = picture.is_class ? *classes_ : instances_;
  const auto pixels = folder.pixels(picture.index, picture.crop).unsqueeze(0);
  const auto distribution = vae_.encode(pixels.to(module_device(vae_), module_dtype(vae_)));
  Moments moments{distribution.mean.contiguous(), distribution.std.contiguous()};
  const auto bytes = static_cast<int64_t>(moments.mean.nbytes() + moments.std.nbytes());
  if (known_bytes_ + bytes <= kMemoryBytes) {
    known_bytes_ += bytes;
    known_.emplace(key, moments);
  }
  return moments;
}

}  // namespace lorikeet

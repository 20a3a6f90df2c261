#include "training/latent_memory.h"

#include "core/errors.h"
#include "core/log.h"
#include "core/text.h"
#include "pipelines/components.h"

namespace lorikeet {
namespace {

bool is_finite(const LatentDistribution& distribution) {
  return distribution.mean.isfinite().all().item<bool>() && distribution.std.isfinite().all().item<bool>();
}

}  // namespace

EncodeMemory parse_encode_memory(const std::string& name) {
  if (name == "memory") return EncodeMemory::kMemory;
  if (name == "disk") return EncodeMemory::kDisk;
  if (name == "off") return EncodeMemory::kOff;
  throw UsageError(lorikeet::str("--encode_memory is '", name, "', expected memory, disk or off"));
}

LatentMemory::LatentMemory(std::shared_ptr<AutoencoderKL> vae, PictureSets& sets, Options options)
    : vae_(std::move(vae)),
      sets_(sets),
      options_(std::move(options)),
      device_(module_device(*vae_)),
      dtype_(module_dtype(*vae_)) {
  const auto& config = vae_->config();
  const int64_t factor = config.downsampling_factor();
  bytes_per_pixel_ =
      1024 * 2 * config.latent_channels * static_cast<int64_t>(c10::elementSize(dtype_)) / (factor * factor);
  if (options_.memory == EncodeMemory::kDisk) store_.emplace(options_.folder, "latents", model_fingerprint(*vae_));
}

LatentMemory::Moments LatentMemory::moments(const PictureBatch& batch) {
  std::vector<torch::Tensor> means, deviations;
  for (const auto& picture : batch) {
    const auto moments = encode(picture);
    means.push_back(moments.mean);
    deviations.push_back(moments.std);
  }
  const auto format = layout(batch.front(), batch.size());
  return {torch::cat(means).contiguous(format), torch::cat(deviations).contiguous(format)};
}

torch::MemoryFormat LatentMemory::layout(const PictureRef& picture, size_t rows) {
  if (rows == 1) return torch::MemoryFormat::Contiguous;
  if (!batch_layout_) {
    // Which layout comes out of several pictures at once depends on the VAE's blocks and on the device: try it.
    torch::NoGradGuard no_grad;
    const auto pixels = set_of(picture).pixels(picture.index, picture.crop).unsqueeze(0).repeat({2, 1, 1, 1});
    const auto deviation = vae_->encode(pixels.to(device_, dtype_)).std;
    batch_layout_ = deviation.suggest_memory_format();
  }
  return *batch_layout_;
}

bool LatentMemory::remember(const PictureRef& picture) {
  encode(picture);
  return known_.contains({picture.set, picture.index, picture.crop.top, picture.crop.left, picture.flip});
}

bool LatentMemory::has_room_for(int64_t cuts, PictureExtent extent) const {
  if (options_.memory == EncodeMemory::kOff) return false;
  const double bytes = static_cast<double>(cuts) * static_cast<double>(extent.height * extent.width) *
                       static_cast<double>(bytes_per_pixel_) / 1024;
  return bytes <= static_cast<double>(kEncodedBytes - known_bytes_);
}

void LatentMemory::release_vae(const PictureRef& any, int64_t largest_batch) {
  layout(any, static_cast<size_t>(std::min<int64_t>(largest_batch, 2)));
  vae_.reset();
}

LatentMemory::Moments LatentMemory::encode(const PictureRef& picture) {
  const Key key{picture.set, picture.index, picture.crop.top, picture.crop.left, picture.flip};
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  Moments moments = compute(picture);
  const auto bytes = static_cast<int64_t>(moments.mean.nbytes() + moments.std.nbytes());
  if (options_.memory != EncodeMemory::kOff && known_bytes_ + bytes <= kEncodedBytes) {
    known_bytes_ += bytes;
    known_.emplace(key, Moments{shelf_.keep(moments.mean), shelf_.keep(moments.std)});
  }
  return moments;
}

/// From disk, or by the VAE.
LatentMemory::Moments LatentMemory::compute(const PictureRef& picture) {
  PictureSet& set = set_of(picture);
  std::string key;
  if (store_) {
    const auto [height, width] = set.target(picture.index);
    key = lorikeet::str(set.content_hash(picture.index), " ", options_.transform, " ", height, "x", width, " ",
                        picture.crop.top, " ", picture.crop.left, " ", picture.flip);
    if (const auto saved = store_->load(key); saved && saved->size() == 2 && (*saved)[0].scalar_type() == dtype_) {
      return {(*saved)[0].to(device_), (*saved)[1].to(device_)};
    }
  }
  const auto pixels = set.pixels(picture.index, picture.crop, picture.flip).unsqueeze(0);
  auto moments = compute_finite(pixels);
  if (store_) store_->save(key, {moments.mean, moments.std});
  return moments;
}

/// Stable Diffusion's VAE overflows in fp16 for some pictures: these are encoded in fp32. Only these, so that what a
/// picture gives does not depend on which ones came before it.
LatentMemory::Moments LatentMemory::compute_finite(const torch::Tensor& pixels) {
  if (!vae_) throw std::logic_error("a picture is asked for that was not encoded before the VAE was let go");
  torch::NoGradGuard no_grad;
  auto distribution = vae_->encode(pixels.to(device_, dtype_));
  if (dtype_ == torch::kHalf && !is_finite(distribution)) {
    if (!overflowed_) log_warning("the VAE overflows in fp16: pictures that it does so for are encoded in fp32");
    overflowed_ = true;
    vae_->to(torch::kFloat);
    distribution = vae_->encode(pixels.to(device_, torch::kFloat));
    vae_->to(dtype_);  // loses nothing: all weights come from there
  }
  return {distribution.mean.to(dtype_).contiguous(), distribution.std.to(dtype_).contiguous()};
}

}  // namespace lorikeet

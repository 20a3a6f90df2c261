// What of a picture a training step sees: the cut as numbers, and its mask.
#include "core/digest.h"
#include "core/errors.h"
#include "data/picture_bytes.h"
#include "data/picture_set.h"
#include "io/image_alpha.h"

namespace lorikeet {
namespace {

constexpr size_t kMaskBytes = size_t{1} << 28;

/// Bytes [height, width, 3] -> floats [3, h, w] in [0, 1] of the part at `crop`.
torch::Tensor cut(const Image& image, Crop crop, PictureExtent extent, bool flip) {
  const auto bytes =
      torch::from_blob(const_cast<uint8_t*>(image.pixels.data()), {image.height, image.width, 3}, torch::kByte);
  auto part = bytes.slice(0, crop.top, crop.top + extent.height).slice(1, crop.left, crop.left + extent.width);
  if (flip) part = part.flip(1);
  return part.permute({2, 0, 1}).contiguous().to(torch::kFloat).div(255);
}

}  // namespace

torch::Tensor PictureSet::pixels(int64_t index, Crop crop, bool flip) {
  return cut(resized(index), crop, target(index), flip).sub_(0.5).div_(0.5);
}

torch::Tensor PictureSet::mask(int64_t index, Crop crop, bool flip) {
  const auto extent = target(index);
  auto known = masks_.find(index);
  if (known == masks_.end()) {
    const auto& record = this->record(index);
    Image mask;
    if (!record.mask.empty()) {
      mask = read_image(record.mask);
    } else {
      mask = decode_alpha(read_picture_bytes(record), record.name);
    }
    if (mask.width > 0) {
      const auto picture = resized_extent(index);
      if (mask.width != picture.width || mask.height != picture.height) {
        mask = resize_image(mask, static_cast<int>(picture.width), static_cast<int>(picture.height),
                            Interpolation::kBilinear);
      }
    }
    if (mask_bytes_ + mask.pixels.size() > kMaskBytes) {
      masks_.clear();
      mask_bytes_ = 0;
    }
    mask_bytes_ += mask.pixels.size();
    known = masks_.emplace(index, std::move(mask)).first;
  }
  if (known->second.width == 0) return torch::ones({1, extent.height, extent.width});
  return cut(known->second, crop, extent, flip).slice(0, 0, 1);
}

const std::string& PictureSet::content_hash(int64_t index) {
  auto& known = records_.at(static_cast<size_t>(index));
  if (known.sha256.empty()) known.sha256 = sha256_hex(read_picture_bytes(known));
  return known.sha256;
}

}  // namespace lorikeet

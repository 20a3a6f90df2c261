#include "data/dreambooth_loader.h"

#include <algorithm>

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"

namespace lorikeet {

DreamboothLoader::DreamboothLoader(PictureFolder& instances, PictureFolder* classes, int64_t batch_size,
                                   bool center_crop, torch::Generator& generator)
    : instances_(instances),
      classes_(classes),
      batch_size_(batch_size),
      center_crop_(center_crop),
      generator_(generator),
      examples_(classes == nullptr ? instances.size() : std::max(instances.size(), classes->size())) {}

void DreamboothLoader::start_epoch() {
  draw_seed(generator_);  // DataLoader's base seed, meant for workers; drawn even without them
  auto sampler = make_generator(static_cast<uint64_t>(draw_seed(generator_)));
  order_ = draw_permutation(examples_, sampler);
  position_ = 0;
  pending_ = fetch();
}

std::optional<PictureBatch> DreamboothLoader::next() {
  auto batch = std::move(pending_);
  pending_.reset();
  if (batch) pending_ = fetch();
  return batch;
}

std::optional<PictureBatch> DreamboothLoader::fetch() {
  const int64_t end = position_ + std::min(batch_size_, examples_ - position_);
  if (position_ >= end) return std::nullopt;
  PictureBatch instances, classes;
  for (; position_ < end; ++position_) {
    const int64_t example = order_[static_cast<size_t>(position_)];
    instances.push_back(draw(false, example));
    if (classes_ != nullptr) classes.push_back(draw(true, example));
  }
  instances.insert(instances.end(), classes.begin(), classes.end());
  return instances;
}

PictureRef DreamboothLoader::draw(bool is_class, int64_t example) {
  PictureFolder& folder = is_class ? *classes_ : instances_;
  const int64_t index = example % folder.size();
  return {is_class, index, center_crop_ ? folder.center_crop(index) : folder.random_crop(index, generator_)};
}

bool DreamboothLoader::fits_folders(const PictureBatch& batch) {
  const auto rows = static_cast<int64_t>(batch.size());
  const int64_t instances = classes_ == nullptr ? rows : rows / 2;
  if (instances < 1 || instances > batch_size_ || (classes_ != nullptr && rows != 2 * instances)) return false;
  for (int64_t row = 0; row < rows; ++row) {
    const auto& [is_class, index, crop] = batch[static_cast<size_t>(row)];
    if (is_class != (row >= instances)) return false;
    PictureFolder& folder = is_class ? *classes_ : instances_;
    if (index < 0 || index >= folder.size() || !folder.holds(index, crop)) return false;
  }
  return true;
}

void DreamboothLoader::restore(State state) {
  const bool fits =
      static_cast<int64_t>(state.order.size()) == examples_ && state.position >= 0 && state.position <= examples_ &&
      std::all_of(state.order.begin(), state.order.end(), [&](int64_t i) { return i >= 0 && i < examples_; });
  if (!fits) {
    throw FormatError(
        str("the checkpoint was made with ", state.order.size(), " examples, there are ", examples_, " now"),
        "train with the same pictures, or start a new run");
  }
  if (state.pending && !fits_folders(*state.pending)) {
    throw FormatError("the checkpoint's next batch names a picture, or a part of one, that is not there",
                      "train with the same pictures, or start a new run");
  }
  order_ = std::move(state.order);
  position_ = state.position;
  pending_ = std::move(state.pending);
}

}  // namespace lorikeet

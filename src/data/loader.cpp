#include "data/loader.h"

#include <algorithm>

#include "core/errors.h"
#include "core/text.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

constexpr int64_t kPicturesAhead = 32;

}  // namespace

Loader::Loader(PictureSets& sets, int64_t examples, int64_t batch_size, torch::Generator& generator)
    : sets_(sets), generator_(generator), batch_size_(batch_size), examples_(examples) {}

void Loader::start_epoch() {
  draw_seed(generator_);  // DataLoader's base seed, meant for workers; drawn even without them
  auto sampler = make_generator(static_cast<uint64_t>(draw_seed(generator_)));
  order_ = draw_permutation(examples_, sampler);
  batches_ = make_batches(order_);
  position_ = 0;
  pending_ = fetch();
}

std::vector<std::vector<int64_t>> Loader::make_batches(const std::vector<int64_t>& order) const {
  std::vector<std::vector<int64_t>> batches;
  const auto count = static_cast<int64_t>(order.size());
  for (int64_t begin = 0; begin < count;) {
    const int64_t end = begin + std::min(batch_size_, count - begin);
    batches.emplace_back(order.begin() + begin, order.begin() + end);
    begin = end;
  }
  return batches;
}

std::optional<PictureBatch> Loader::next() {
  auto batch = std::move(pending_);
  pending_.reset();
  if (batch) pending_ = fetch();
  return batch;
}

std::optional<PictureBatch> Loader::fetch() {
  if (position_ >= static_cast<int64_t>(batches_.size())) return std::nullopt;
  announce();
  return draw(batches_[static_cast<size_t>(position_++)]);
}

/// The batch that is out, the one about to be drawn, and what comes after it, so that it is decoded when its turn
/// comes.
void Loader::announce() {
  std::vector<std::vector<int64_t>> wanted(sets_.size());
  const auto next = static_cast<size_t>(position_);
  int64_t ahead = 0;
  for (auto batch = next > 0 ? next - 1 : 0; batch < batches_.size() && ahead < kPicturesAhead; ++batch) {
    for (const int64_t example : batches_[batch]) {
      for (const auto& picture : pictures_of(example)) {
        wanted[static_cast<size_t>(picture.set)].push_back(picture.index);
        if (batch >= next) ++ahead;
      }
    }
  }
  for (size_t set = 0; set < sets_.size(); ++set) sets_[set]->announce(wanted[set]);
}

bool Loader::fits_pictures(const PictureBatch& batch) const {
  if (batch.empty() || !fits(batch)) return false;
  return std::all_of(batch.begin(), batch.end(), [&](const PictureRef& picture) {
    if (picture.set < 0 || picture.set >= static_cast<int64_t>(sets_.size())) return false;
    PictureSet& set = *sets_[static_cast<size_t>(picture.set)];
    return picture.index >= 0 && picture.index < set.size() && set.holds(picture.index, picture.crop);
  });
}

void Loader::restore(State state) {
  const bool has_order =
      static_cast<int64_t>(state.order.size()) == examples_ &&
      std::all_of(state.order.begin(), state.order.end(), [&](int64_t i) { return i >= 0 && i < examples_; });
  if (!has_order) {
    throw FormatError(
        str("the checkpoint was made with ", state.order.size(), " examples, there are ", examples_, " now"),
        "train with the same pictures, or start a new run");
  }
  auto batches = make_batches(state.order);
  if (state.position < 0 || state.position > static_cast<int64_t>(batches.size()) ||
      (state.pending && !fits_pictures(*state.pending))) {
    throw FormatError("the checkpoint's next batch names a picture, or a part of one, that is not there",
                      "train with the same pictures, or start a new run");
  }
  order_ = std::move(state.order);
  batches_ = std::move(batches);
  position_ = state.position;
  pending_ = std::move(state.pending);
  announce();
}

}  // namespace lorikeet

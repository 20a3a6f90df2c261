#include "data/dreambooth_loader.h"

#include <algorithm>

namespace lorikeet {
namespace {

int64_t largest(const PictureSets& sets) {
  size_t size = 0;
  for (const auto& set : sets) size = std::max(size, set->trained_on().size());
  return static_cast<int64_t>(size);
}

}  // namespace

DreamboothLoader::DreamboothLoader(PictureSets& sets, Options options, torch::Generator& generator)
    : Loader(sets, largest(sets), options.batch_size, generator), options_(std::move(options)) {
  for (const auto& set : sets) members_.push_back(set->trained_on());
}

std::vector<PictureRef> DreamboothLoader::pictures_of(int64_t example) const {
  std::vector<PictureRef> pictures;
  for (size_t set = 0; set < sets_.size(); ++set) {
    const auto& members = members_[set];
    const int64_t index = members[static_cast<size_t>(example) % members.size()];
    pictures.push_back({static_cast<int64_t>(set), index, {}, false, options_.prompts.at(set)});
  }
  return pictures;
}

PictureBatch DreamboothLoader::draw(const std::vector<int64_t>& examples) {
  std::vector<PictureBatch> parts(sets_.size());
  for (const int64_t example : examples) {
    for (auto& picture : pictures_of(example)) {
      PictureSet& set = *sets_[static_cast<size_t>(picture.set)];
      picture.crop = options_.center_crop ? set.center_crop(picture.index) : set.random_crop(picture.index, generator_);
      parts[static_cast<size_t>(picture.set)].push_back(std::move(picture));
    }
  }
  PictureBatch batch;
  for (auto& part : parts) std::move(part.begin(), part.end(), std::back_inserter(batch));
  return batch;
}

bool DreamboothLoader::fits(const PictureBatch& batch) const {
  const size_t each = batch.size() / sets_.size();
  if (each * sets_.size() != batch.size() || static_cast<int64_t>(each) > batch_size_) return false;
  for (size_t row = 0; row < batch.size(); ++row) {
    const auto set = static_cast<int64_t>(row / each);
    if (batch[row].set != set || batch[row].caption != options_.prompts.at(row / each)) return false;
  }
  return true;
}

}  // namespace lorikeet

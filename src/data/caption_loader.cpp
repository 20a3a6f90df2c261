#include "data/caption_loader.h"

#include <algorithm>
#include <map>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

/// An epoch's order is drawn, and kept in checkpoints, as a whole.
constexpr int64_t kMostExamples = 10'000'000;

int64_t count_examples(const PictureSet& set) {
  int64_t count = 0;
  for (const auto& record : set.records()) {
    count += record.repeats;
    if (count <= kMostExamples) continue;
    throw FormatError(str("the data set's repeats make more than ", kMostExamples, " examples an epoch"),
                      "give the folders smaller numbers, and more epochs");
  }
  if (count == 0) {
    throw FormatError("no picture of the data set is trained on: all repeats are 0",
                      "name kohya's folders N_words with N at least 1");
  }
  return count;
}

bool draw_flip(torch::Generator& generator) { return torch::rand({1}, generator).item<float>() < 0.5f; }

}  // namespace

CaptionLoader::CaptionLoader(PictureSets& sets, Options options, torch::Generator& generator, PythonRandom& random)
    : Loader(sets, count_examples(*sets.at(0)), options.batch_size, generator),
      options_(std::move(options)),
      random_(random) {
  const auto& records = sets_[0]->records();
  for (size_t i = 0; i < records.size(); ++i) {
    picture_of_.insert(picture_of_.end(), static_cast<size_t>(records[i].repeats), static_cast<int64_t>(i));
    // A column of captions is either texts or lists; of lists a choice is drawn even where there is one.
    captions_are_lists_ |= records[i].captions.size() > 1;
  }
}

std::vector<PictureRef> CaptionLoader::pictures_of(int64_t example) const {
  return {{0, picture_of_.at(static_cast<size_t>(example)), {}, false, ""}};
}

PictureBatch CaptionLoader::draw(const std::vector<int64_t>& examples) {
  PictureSet& set = *sets_[0];
  PictureBatch batch;
  for (const int64_t example : examples) {
    auto picture = pictures_of(example).front();
    picture.crop = options_.center_crop ? set.center_crop(picture.index) : set.random_crop(picture.index, generator_);
    if (options_.random_flip) picture.flip = draw_flip(generator_);
    batch.push_back(std::move(picture));
  }
  for (auto& picture : batch) {
    picture.caption = draw_caption(set.record(picture.index).captions, captions_are_lists_, options_.captions, random_);
  }
  return batch;
}

std::vector<std::vector<int64_t>> CaptionLoader::make_batches(const std::vector<int64_t>& order) const {
  if (!options_.buckets) return Loader::make_batches(order);
  std::vector<std::vector<int64_t>> batches, open;
  std::map<std::pair<int64_t, int64_t>, size_t> slot_of;
  for (const int64_t example : order) {
    const auto extent = sets_[0]->target(picture_of_[static_cast<size_t>(example)]);
    const auto [slot, is_new] = slot_of.emplace(std::pair{extent.height, extent.width}, open.size());
    if (is_new) open.emplace_back();
    auto& batch = open[slot->second];
    batch.push_back(example);
    if (static_cast<int64_t>(batch.size()) < batch_size_) continue;
    batches.push_back(std::move(batch));
    batch.clear();
  }
  for (auto& batch : open) {
    if (!batch.empty()) batches.push_back(std::move(batch));
  }
  return batches;
}

int64_t CaptionLoader::batches_per_epoch() const {
  if (!options_.buckets) return Loader::batches_per_epoch();
  std::vector<int64_t> order(static_cast<size_t>(examples()));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  return static_cast<int64_t>(make_batches(order).size());
}

bool CaptionLoader::fits(const PictureBatch& batch) const {
  return static_cast<int64_t>(batch.size()) <= batch_size_ &&
         std::all_of(batch.begin(), batch.end(), [](const PictureRef& picture) { return picture.set == 0; });
}

std::vector<PictureRef> CaptionLoader::all_cuts() const {
  PictureSet& set = *sets_[0];
  std::vector<PictureRef> cuts;
  for (const int64_t index : set.trained_on()) {
    if (!options_.center_crop && set.resized_extent(index) != set.target(index)) return {};
    for (const bool flip : {false, true}) {
      if (!flip || options_.random_flip) cuts.push_back({0, index, set.center_crop(index), flip, ""});
    }
  }
  return cuts;
}

std::vector<std::string> CaptionLoader::all_texts() const {
  std::vector<std::string> texts;
  for (const int64_t index : sets_[0]->trained_on()) {
    const auto possible = possible_captions(sets_[0]->record(index).captions, options_.captions);
    if (possible.empty()) return {};
    texts.insert(texts.end(), possible.begin(), possible.end());
  }
  return texts;
}

}  // namespace lorikeet

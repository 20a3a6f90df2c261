// Which pictures each batch holds, in the order and with the random draws of Diffusers' DreamBooth script.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "data/picture_folder.h"

namespace lorikeet {

/// One picture of a batch: where it comes from and which square of it.
struct PictureRef {
  bool is_class = false;  // from the class folder, else from the instance folder
  int64_t index = 0;      // in that folder
  Crop crop;
  bool operator==(const PictureRef&) const = default;
};

/// The pictures of a batch: instances first, then, with prior preservation, as many class pictures.
using PictureBatch = std::vector<PictureRef>;

/// Draws epochs of batches as torch's DataLoader(shuffle=True) under accelerate does: per epoch a base seed (unused),
/// a seed for the permutation, and the crops of batch k+1 BEFORE batch k is handed out (accelerate reads one ahead).
/// An example holds instance i mod #instances and class picture i mod #classes; the last batch may be short.
class DreamboothLoader {
 public:
  /// `classes` may be null. The folders and the generator must outlive the loader.
  DreamboothLoader(PictureFolder& instances, PictureFolder* classes, int64_t batch_size, bool center_crop,
                   torch::Generator& generator);

  int64_t examples() const { return examples_; }
  int64_t batches_per_epoch() const { return (examples_ - 1) / batch_size_ + 1; }

  void start_epoch();
  /// nullopt at the epoch's end. `is_last()` then tells whether the batch just given was the last.
  std::optional<PictureBatch> next();
  bool is_last() const { return !pending_; }

  /// Everything needed to go on in the middle of an epoch.
  struct State {
    std::vector<int64_t> order;
    int64_t position = 0;  // examples taken from `order`, the pending batch's included
    std::optional<PictureBatch> pending;
  };
  State state() const { return {order_, position_, pending_}; }
  /// Throws FormatError when the state does not fit these folders.
  void restore(State state);

 private:
  std::optional<PictureBatch> fetch();
  bool fits_folders(const PictureBatch& batch);
  PictureRef draw(bool is_class, int64_t example);

  PictureFolder& instances_;
  PictureFolder* classes_;
  int64_t batch_size_;
  bool center_crop_;
  torch::Generator& generator_;
  int64_t examples_;
  std::vector<int64_t> order_;
  int64_t position_ = 0;
  std::optional<PictureBatch> pending_;
};

}  // namespace lorikeet

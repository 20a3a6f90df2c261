// What each batch of an epoch holds, in the order and with the random draws of torch's DataLoader under accelerate.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "data/batch.h"

namespace lorikeet {

/// Per epoch a base seed (unused), a seed for the permutation of the examples, and what is drawn for batch k+1 BEFORE
/// batch k is handed out (accelerate reads one ahead). The last batch may be short. What an example is, and what is
/// drawn for it, the recipe's own loader says.
class Loader {
 public:
  virtual ~Loader() = default;
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  int64_t examples() const { return examples_; }
  virtual int64_t batches_per_epoch() const { return (examples_ - 1) / batch_size_ + 1; }

  void start_epoch();
  /// nullopt at the epoch's end. `is_last()` then tells whether the batch just given was the last.
  std::optional<PictureBatch> next();
  bool is_last() const { return !pending_; }

  /// Everything needed to go on in the middle of an epoch.
  struct State {
    std::vector<int64_t> order;  // of the examples
    int64_t position = 0;        // batches taken, the pending one included
    std::optional<PictureBatch> pending;
  };
  State state() const { return {order_, position_, pending_}; }
  /// Throws FormatError when the state does not fit these pictures.
  void restore(State state);

 protected:
  Loader(PictureSets& sets, int64_t examples, int64_t batch_size, torch::Generator& generator);

  /// The batch of these examples, drawn.
  virtual PictureBatch draw(const std::vector<int64_t>& examples) = 0;
  /// The epoch's batches, of examples in this order.
  virtual std::vector<std::vector<int64_t>> make_batches(const std::vector<int64_t>& order) const;
  /// Whether `draw` may have given this batch, as far as sets go.
  virtual bool fits(const PictureBatch& batch) const = 0;
  /// The pictures of an example, for decoding ahead.
  virtual std::vector<PictureRef> pictures_of(int64_t example) const = 0;

  PictureSets& sets_;
  torch::Generator& generator_;
  int64_t batch_size_;

 private:
  std::optional<PictureBatch> fetch();
  void announce();
  bool fits_pictures(const PictureBatch& batch) const;

  int64_t examples_;
  std::vector<int64_t> order_;
  std::vector<std::vector<int64_t>> batches_;
  int64_t position_ = 0;
  std::optional<PictureBatch> pending_;
};

}  // namespace lorikeet

// Many tensors that are kept for long, packed.
#pragma once

#include <torch/types.h>

namespace lorikeet {

/// Puts copies side by side into large blocks. Kept one by one, between the temporaries of a model's forward, they
/// leave holes that glibc's aligned allocation does not fill again, all in all as large as what is kept.
class TensorShelf {
 public:
  /// A contiguous copy, on the same device. It is valid beyond the shelf's life.
  torch::Tensor keep(const torch::Tensor& tensor);

 private:
  torch::Tensor block_;  // bytes; earlier blocks live on in what was put there
  int64_t used_ = 0;
};

}  // namespace lorikeet

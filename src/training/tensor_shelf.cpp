#include "training/tensor_shelf.h"

#include <algorithm>

namespace lorikeet {
namespace {

constexpr int64_t kSmallestBlock = int64_t{1} << 16, kLargestBlock = int64_t{1} << 24;
constexpr int64_t kAlignment = 64;  // as torch's own allocations have it, so that every kernel takes the same path

}  // namespace

torch::Tensor TensorShelf::keep(const torch::Tensor& tensor) {
  torch::NoGradGuard no_grad;
  const auto bytes = static_cast<int64_t>(tensor.nbytes());
  if (!block_.defined() || block_.device() != tensor.device() || used_ + bytes > block_.numel()) {
    const int64_t last = block_.defined() ? block_.numel() : 0;
    const int64_t wanted = std::clamp(2 * last, kSmallestBlock, kLargestBlock);
    block_ = torch::empty({std::max(wanted, bytes)}, torch::TensorOptions(torch::kByte).device(tensor.device()));
    used_ = 0;
  }
  const auto place = block_.narrow(0, used_, bytes).view(tensor.scalar_type()).view(tensor.sizes());
  used_ = std::min((used_ + bytes + kAlignment - 1) / kAlignment * kAlignment, block_.numel());
  return place.copy_(tensor);
}

}  // namespace lorikeet

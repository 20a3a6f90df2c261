#include "lora/adapter.h"

#include <limits>

#include "engine/activation_checkpoint.h"

namespace lorikeet {
namespace {

/// torch.nn.functional.dropout with an explicit generator: the same draws and the same order of operations.
torch::Tensor drop(const torch::Tensor& x, double probability, torch::Generator& generator) {
  auto mask = torch::empty_like(x).bernoulli_(1 - probability, generator);
  mask.div_(1 - probability);
  return x * mask;
}

/// A bias in the shape that adds to an output of a linear layer or a convolution.
torch::Tensor spread(const torch::Tensor& bias, const torch::Tensor& output) {
  return output.dim() == 4 ? bias.view({1, -1, 1, 1}) : bias;
}

bool is_per_output(const torch::Tensor& magnitude, const torch::Tensor& weight) {
  return magnitude.size(0) == weight.size(0) && magnitude.size(1) == 1;
}

/// LoHa's two products are each as large as the weight: backward makes them again instead of keeping them.
torch::Tensor thrifty_product(const LayerChange& change, at::IntArrayRef shape) {
  if (change.kind != ChangeKind::kLoha || !torch::GradMode::is_enabled()) return weight_product(change, shape);
  std::vector<torch::Tensor> inputs;
  for (const auto& [role, factor] : change.factors) inputs.push_back(factor);
  const auto product = [change, sizes = shape.vec()](const std::vector<torch::Tensor>& factors) {
    LayerChange same = change;
    size_t next = 0;
    for (auto& [role, factor] : same.factors) factor = factors[next++];
    return std::vector<torch::Tensor>{weight_product(same, sizes)};
  };
  return activation_checkpoint(product, std::move(inputs)).front();
}

}  // namespace

torch::Tensor LoraAdapter::low_rank(const AdaptableLayer& layer, const torch::Tensor& x) const {
  const auto up = values.get("up"), mid = values.get("mid");
  torch::Tensor inner;
  if (mid.defined()) {
    // Tucker: the kernel is in the middle, the layer's stride and padding with it.
    inner = layer.compute(torch::conv2d(x, values.get("down")), mid, {});
  } else {
    inner = layer.compute(x, values.get("down"), {});
  }
  return up.dim() == 4 ? torch::conv2d(inner, up) : torch::linear(inner, up);
}

torch::Tensor LoraAdapter::dora(const AdaptableLayer& layer, const torch::Tensor& x,
                                const torch::Tensor& output) const {
  const auto magnitude = values.get("magnitude");
  const double inside = values.strength * (values.scales_inside ? scale : 1.0);
  torch::Tensor lengths;
  {
    // As constants, section 4.3 of the paper: no gradient flows through them.
    torch::NoGradGuard no_grad;
    auto plain = values;
    plain.strength = inside;
    const auto base = layer.weight.to(magnitude.scalar_type());
    lengths = weight_lengths(base + weight_product(plain, base.sizes()), magnitude);
    lengths.clamp_min_(std::numeric_limits<float>::min());
  }
  const auto ratio = spread((magnitude / lengths).flatten(), output);
  const bool dropped = training && dropout > 0;
  auto own = output;
  if (dropped) {
    own = layer.compute(x, layer.weight, {});
  } else if (layer.bias.defined()) {
    own = output - spread(layer.bias, output);
  }
  auto product = low_rank(layer, x);
  if (inside != 1) product = product * inside;
  const auto difference = (ratio - 1) * own + ratio * product;
  return values.scales_inside || scale == 1 ? difference : difference * scale;
}

torch::Tensor LoraAdapter::change(const AdaptableLayer& layer, const torch::Tensor& input,
                                  const torch::Tensor& output) {
  if (scale == 0) return {};
  const auto dtype = values.factors.begin()->second.scalar_type();
  auto x = input.scalar_type() == dtype ? input : input.to(dtype);
  if (training && dropout > 0) x = drop(x, dropout, generator);
  const auto bias = values.get("bias");
  torch::Tensor sum;
  const bool is_lora = values.kind == ChangeKind::kLora;
  if (is_lora && !values.is_dora()) {
    sum = low_rank(layer, x);
    const double factor = scale * values.strength;
    if (factor != 1) sum = sum * factor;
  } else if (is_lora && is_per_output(values.get("magnitude"), layer.weight)) {
    sum = dora(layer, x, output);
  } else {
    torch::Tensor dense;
    if (values.is_dora()) {
      dense = weight_change(values, layer.weight, scale).to(dtype);
    } else {
      dense = thrifty_product(values, layer.weight.sizes());
      if (scale != 1) dense = dense * scale;
    }
    return layer.compute(x, dense, bias.defined() ? bias * scale : bias);
  }
  return bias.defined() ? sum + spread(bias * scale, sum) : sum;
}

}  // namespace lorikeet

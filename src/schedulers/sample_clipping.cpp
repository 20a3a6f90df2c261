#include "schedulers/sample_clipping.h"

#include "schedulers/config_reader.h"

namespace lorikeet {

SampleClipping SampleClipping::read(const SchedulerConfigReader& config, bool has_clip_sample) {
  SampleClipping clipping;
  if (has_clip_sample) {
    clipping.clip_sample = config.flag("clip_sample", true);
    clipping.clip_sample_range = config.number("clip_sample_range", 1);
    if (clipping.clip_sample_range <= 0) config.refuse("clip_sample_range", "a number above 0");
  }
  clipping.thresholding = config.flag("thresholding", false);
  clipping.dynamic_thresholding_ratio = config.number("dynamic_thresholding_ratio", 0.995);
  if (!(clipping.dynamic_thresholding_ratio >= 0 && clipping.dynamic_thresholding_ratio <= 1))
    config.refuse("dynamic_thresholding_ratio", "a number from 0 to 1");
  clipping.sample_max_value = config.number("sample_max_value", 1);
  return clipping;
}

torch::Tensor SampleClipping::apply(const torch::Tensor& x0) const {
  if (thresholding) {
    const auto dtype = x0.scalar_type();
    // quantile knows no half precision
    auto flat = (dtype == torch::kFloat64 ? x0 : x0.to(torch::kFloat32)).flatten(1);
    const auto limit =
        torch::quantile(flat.abs(), dynamic_thresholding_ratio, 1).clamp(1, sample_max_value).unsqueeze(1);
    return (torch::clamp(flat, -limit, limit) / limit).reshape(x0.sizes()).to(dtype);
  }
  return clip_sample ? x0.clamp(-clip_sample_range, clip_sample_range) : x0;
}

}  // namespace lorikeet

#include "lora/extract.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string_view>

#include "core/errors.h"
#include "core/text.h"
#include "io/file_mapping.h"
#include "lora/change_matrix.h"

namespace lorikeet {
namespace {

constexpr std::string_view kTextPrefix = "text_model.";
constexpr std::string_view kWeight = ".weight", kBias = ".bias";

/// The source's names by the model's: text encoders' come with text_model. and without.
std::map<std::string, std::string> names_of(const WeightSource& source, bool is_text) {
  std::map<std::string, std::string> names;
  for (const auto& key : source.names()) {
    const bool bare = is_text && !key.starts_with(kTextPrefix) && !key.starts_with("text_projection.");
    names[bare ? std::string(kTextPrefix) + key : key] = key;
  }
  return names;
}

/// Whether a LoRA can change this weight: a Linear's or a convolution's.
bool is_layer(const std::string& name, const torch::Tensor& weight, bool is_text) {
  if (!name.ends_with(kWeight) || (weight.dim() != 2 && weight.dim() != 4)) return false;
  if (!is_text) return true;
  return name.starts_with(kTextPrefix) && name.find(".embeddings.") == std::string::npos;
}

/// Two whole models would stay in memory otherwise.
void release(const torch::Tensor& tensor) {
  if (tensor.is_contiguous() && tensor.is_cpu()) release_pages(tensor.const_data_ptr(), tensor.nbytes());
}

/// Goes through the tensors of one model.
class Extraction {
 public:
  Extraction(const LoraPart& part, const TunedModel& model, const ExtractOptions& options)
      : part_(part), model_(model), options_(options), is_text_(std::string_view(part.name) != "unet") {
    if (!model.tuned != !model.base) {
      throw UsageError(lorikeet::str("the ", part.name, " is given only for ", model.tuned ? "the tuned" : "the base",
                                     " model, expected for both"));
    }
    if (!model.tuned) return;
    tuned_ = names_of(*model.tuned, is_text_);
    base_ = names_of(*model.base, is_text_);
  }

  int64_t tensors() const { return static_cast<int64_t>(tuned_.size()); }

  void run(ExtractedLora& result, const std::function<void()>& step) {
    const size_t before = result.report.only_in_tuned.size();
    for (const auto& [name, key] : base_) {
      if (!tuned_.contains(name)) result.report.only_in_base.push_back(lorikeet::str(part_.name, ".", name));
    }
    for (const auto& [name, key] : tuned_) {
      const auto base = base_.find(name);
      if (base == base_.end()) {
        result.report.only_in_tuned.push_back(lorikeet::str(part_.name, ".", name));
      } else {
        const auto of_tuned = model_.tuned->tensor(key), of_base = model_.base->tensor(base->second);
        take(name, of_tuned, of_base, result.report);
        release(of_tuned);
        release(of_base);
      }
      step();
    }
    if (!tuned_.empty() && result.report.only_in_tuned.size() - before == tuned_.size()) {
      throw FormatError(lorikeet::str(model_.tuned->description(), " and ", model_.base->description(),
                                      " have no tensor's name in common"),
                        "both must be the same model, in Diffusers' layout");
    }
    for (auto& [path, change] : changes_) (result.file.*part_.layers).push_back(std::move(change));
  }

 private:
  void take(const std::string& name, const torch::Tensor& tuned, const torch::Tensor& base, ExtractReport& report) {
    if (!tuned.is_floating_point() || !base.is_floating_point()) return;  // position_ids of old files
    if (tuned.sizes() != base.sizes()) {
      throw FormatError(lorikeet::str(part_.name, ".", name, " is ", tuned.sizes(), " in ", model_.tuned->description(),
                                      " and ", base.sizes(), " in ", model_.base->description()),
                        "is the base the model that was tuned?");
    }
    const auto difference = changed(name, tuned, base);
    if (!difference.defined()) {
      ++report.unchanged;
    } else if (is_layer(name, tuned, is_text_)) {
      take_layer(name, difference, report.truncation);
    } else {
      report.others.push_back({part_.name, name, frobenius_norm(difference), keep_other(name, difference)});
    }
  }

  /// tuned - base in float32; undefined when that is nothing.
  torch::Tensor changed(const std::string& name, const torch::Tensor& tuned, const torch::Tensor& base) const {
    if (tuned.numel() == 0) return {};
    auto difference = tuned.to(torch::kFloat, /*non_blocking=*/false, /*copy=*/true).sub_(base);
    const double largest =
        torch::linalg_vector_norm(difference, std::numeric_limits<double>::infinity()).item<double>();
    if (!std::isfinite(largest)) {
      throw FormatError(lorikeet::str(part_.name, ".", name, " holds values that are not finite, in ",
                                      model_.tuned->description(), " or ", model_.base->description()));
    }
    if (largest <= options_.min_difference) return {};
    // A copy in half precision differs from its base everywhere, and means the same.
    if (tuned.element_size() < base.element_size() && torch::equal(base.to(tuned.scalar_type()), tuned)) return {};
    if (base.element_size() < tuned.element_size() && torch::equal(tuned.to(base.scalar_type()), base)) return {};
    return difference;
  }

  void take_layer(const std::string& name, const torch::Tensor& difference, TruncationReport& report) {
    const auto path = name.substr(0, name.size() - kWeight.size());
    const bool convolution = difference.dim() == 4 && difference.size(2) * difference.size(3) > 1;
    TruncateOptions options;
    options.rank = convolution ? options_.conv_rank.value_or(options_.rank) : options_.rank;
    const auto truncation = truncate_matrix(difference.flatten(1), options);
    report.add(part_.name, path, truncation);
    auto change = lora_change(path, truncation.up, truncation.down, difference.sizes().vec());
    const auto place = changes_.find(path);
    if (place != changes_.end()) change.factors.merge(place->second.factors);  // its bias came before
    changes_[path] = std::move(change);
  }

  /// Puts a bias's or norm's difference into the file; says whether it did.
  bool keep_other(const std::string& name, const torch::Tensor& difference) {
    const bool is_bias = name.ends_with(kBias), is_norm = name.ends_with(kWeight) && difference.dim() == 1;
    if (!options_.keep_other || difference.dim() != 1 || !(is_bias || is_norm)) return false;
    const auto path = name.substr(0, name.size() - (is_bias ? kBias : kWeight).size());
    auto& change = changes_[path];
    if (change.factors.empty()) {
      change.path = path;
      change.kind = ChangeKind::kFull;
    }
    change.factors[is_bias ? "bias" : "diff"] = difference;
    return true;
  }

  const LoraPart& part_;
  const TunedModel& model_;
  const ExtractOptions& options_;
  const bool is_text_;
  std::map<std::string, std::string> tuned_, base_;  // keys of the sources by name
  std::map<std::string, LayerChange> changes_;       // by path
};

void check_options(const ExtractOptions& options) {
  for (const int64_t rank : {options.rank, options.conv_rank.value_or(options.rank)}) {
    TruncateOptions limits;
    limits.rank = rank;
    check_truncation(limits);
  }
  if (!(options.min_difference >= 0 && std::isfinite(options.min_difference))) {
    throw UsageError(
        lorikeet::str("min_difference is ", options.min_difference, ", expected a finite number of at least 0"));
  }
}

}  // namespace

double ExtractReport::left_out_share() const {
  double left_out = 0, all = truncation.norm() * truncation.norm();
  for (const auto& other : others) {
    all += other.norm * other.norm;
    if (!other.kept) left_out += other.norm * other.norm;
  }
  return all == 0 ? 0 : left_out / all;
}

ExtractedLora extract_lora(const TunedModel& unet, const TunedModel& text_encoder, const ExtractOptions& options,
                           const LayerProgress& progress) {
  torch::NoGradGuard no_grad;
  check_options(options);
  Extraction parts[] = {{kLoraParts[0], unet, options}, {kLoraParts[1], text_encoder, options}};
  const int64_t total = parts[0].tensors() + parts[1].tensors();
  if (total == 0) throw UsageError("there are no weights to compare: neither a UNet nor a text encoder is given");
  ExtractedLora result;
  int64_t done = 0;
  for (auto& part : parts) part.run(result, [&] { report_progress(progress, ++done, total); });
  if (result.report.truncation.layers.empty() && result.report.others.empty()) {
    throw FormatError("the tuned model does not differ from its base",
                      options.min_difference > 0 ? "a smaller min_difference lets smaller differences count" : "");
  }
  result.file.is_sdxl = unet.base && unet.base->contains("add_embedding.linear_1.weight");
  return result;
}

}  // namespace lorikeet

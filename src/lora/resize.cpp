#include "lora/resize.h"

#include "core/errors.h"
#include "core/text.h"
#include "lora/change_matrix.h"

namespace lorikeet {
namespace {

std::string described(const TruncateOptions& options) {
  std::string text;
  if (options.rank) text = lorikeet::str("rank=", *options.rank);
  if (options.keep_energy) text += lorikeet::str(text.empty() ? "" : ", ", "keep_energy=", *options.keep_energy);
  return text;
}

LayerChange resized(const LayerChange& change, const TruncateOptions& options, const char* part,
                    TruncationReport& report) {
  const auto matrix = change_matrix(change);
  if (!matrix.has_rank()) {
    report.kept_whole.push_back(std::string(part) + "." + change.path);
    return change;
  }
  const auto truncation = truncate_change(matrix, options);
  report.add(part, change.path, truncation);
  auto result = lora_change(change.path, truncation.up, truncation.down, matrix.shape);
  for (const char* role : {"bias", "magnitude"}) {
    if (change.has(role)) result.factors[role] = change.get(role);
  }
  result.scales_inside = change.scales_inside;
  return result;
}

}  // namespace

ResizedLora resize_lora(const LoraFile& file, const TruncateOptions& options, const LayerProgress& progress) {
  torch::NoGradGuard no_grad;
  check_truncation(options);
  ResizedLora result;
  int64_t done = 0, total = 0;
  for (const auto& part : kLoraParts) total += static_cast<int64_t>((file.*part.layers).size());
  for (const auto& part : kLoraParts) {
    for (const auto& change : file.*part.layers) {
      (result.file.*part.layers).push_back(resized(change, options, part.name, result.report));
      report_progress(progress, ++done, total);
    }
  }
  result.file.is_sdxl = file.is_sdxl;
  result.file.words = file.words;
  result.file.metadata = lasting_metadata(file);
  result.file.metadata[kResizedKey] = described(options);
  return result;
}

}  // namespace lorikeet

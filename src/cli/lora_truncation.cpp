#include "cli/lora_truncation.h"

#include <algorithm>
#include <iostream>

#include "cli/numbers.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/text.h"

namespace lorikeet {
void tell_truncation(const TruncationReport& report) {
  auto layers = report.layers;
  std::stable_sort(layers.begin(), layers.end(), [](const auto& a, const auto& b) { return a.error() > b.error(); });
  for (const auto& layer : layers) {
    std::cout << layer.part << "." << layer.path << "  rank " << layer.rank_before << " -> " << layer.rank << "  error "
              << percent(layer.error()) << "\n";
  }
  std::cout.flush();
  log_info(str("relative error of all ", layers.size(), " layers together: ", percent(report.error())));
  if (!report.kept_whole.empty()) {
    log_info(str("kept as they are, for want of a rank: ", listed(report.kept_whole)));
  }
}

}  // namespace lorikeet

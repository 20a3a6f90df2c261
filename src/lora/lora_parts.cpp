#include "lora/lora_parts.h"

#include <algorithm>

#include "core/errors.h"
#include "core/interrupt.h"

namespace lorikeet {

void report_progress(const LayerProgress& progress, int64_t done, int64_t total) {
  stop_if_requested();
  if (progress && !progress(done, total)) throw Interrupted("stopped");
}

std::map<std::string, std::string> lasting_metadata(const LoraFile& file) {
  static const char* const kOfTheFactors[] = {"ss_network_dim", "ss_network_alpha", "ss_network_args",
                                              "ss_network_module"};
  std::map<std::string, std::string> lasting;
  for (const auto& [key, value] : file.metadata) {
    const bool known = key.starts_with("ss_") || (key.starts_with("modelspec.") && !key.starts_with("modelspec.hash"));
    if (known && std::ranges::find(kOfTheFactors, key) == std::end(kOfTheFactors)) lasting.emplace(key, value);
  }
  return lasting;
}

}  // namespace lorikeet

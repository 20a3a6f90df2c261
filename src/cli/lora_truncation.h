// What an approximation has cost, as text.
#pragma once

#include "lora/truncation_report.h"

namespace lorikeet {

/// A line for each layer on standard output, the worst first, and one for all together in the log.
void tell_truncation(const TruncationReport& report);

}  // namespace lorikeet

// `lorikeet doctor`: what the program found on this machine, and what would be slow.
#pragma once

#include <string>
#include <vector>

#include "cli/machine.h"
#include "core/options.h"

namespace lorikeet {

struct DoctorOptions {
  bool json = false;
};

OptionList fields(DoctorOptions& options);

/// Prints the report; looks, and changes nothing.
void doctor(const DoctorOptions& options);

/// What advice depends on.
struct Findings {
  Processor processor;
  Memory memory;
  int64_t threads = 0;  // libtorch's
  bool gpu_usable = false;
  bool gpu_present = false;
  std::string gpu_problem;  // why libtorch cannot use a GPU that is there
  int64_t free_disk = 0;    // bytes, where the program runs
};

/// One sentence for each thing that would be slow or go wrong; empty on a good machine.
std::vector<std::string> advice(const Findings& found);

}  // namespace lorikeet

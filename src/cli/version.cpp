#include "cli/version.h"

#include <torch/version.h>

#include <iostream>

namespace lorikeet {

OptionList fields(VersionOptions&) { return {}; }

void print_version(const VersionOptions&) {
  std::cout << "lorikeet " << LORIKEET_VERSION << "\nlibtorch " << TORCH_VERSION << "\n";
}

}  // namespace lorikeet

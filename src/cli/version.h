// `lorikeet version`.
#pragma once

#include "core/options.h"

namespace lorikeet {

struct VersionOptions {};

OptionList fields(VersionOptions& options);

void print_version(const VersionOptions& options);

}  // namespace lorikeet

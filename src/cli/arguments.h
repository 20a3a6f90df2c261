// From the words of a command line to an options struct.
#pragma once

#include "core/options.h"

namespace lorikeet {

/// Sets what `arguments` give: `--name=value`, `--name value`, `--flag`, `--list a b c`, `-o value`; `--nam` where only
/// one name begins so; words without a name go to the positional options, in their order. A later value replaces an
/// earlier one, a list grows. A `--config` file is read first, whatever its place. Returns false, having set nothing,
/// when help is asked for (--help, -h). Throws UsageError; FileError for --config.
bool parse_arguments(const TextList& arguments, const OptionList& list);

}  // namespace lorikeet

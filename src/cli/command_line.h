// An options struct as the command that gives it: what `lorikeet COMMAND --help` reads, the other way round.
#pragma once

#include <string>

#include "core/options.h"

namespace lorikeet {

/// A word as a shell reads it back.
std::string shell_word(const std::string& word);

/// "lorikeet NAME \\\n  --flag=value ...": those of `list` that differ from the same places of `defaults`, secrets and
/// `--config` left out.
std::string command_line(const std::string& name, const OptionList& list, const OptionList& defaults);

/// The same of a whole struct, which has `fields(Options&)`.
template <class Options>
std::string command_line(const std::string& name, Options options) {
  Options defaults;
  const auto list = fields(options), unset = fields(defaults);
  return command_line(name, list, unset);
}

}  // namespace lorikeet

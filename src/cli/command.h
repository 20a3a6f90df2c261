// A command of the program as data: its name, what it is for, its options, and the function that does it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "core/options.h"

namespace lorikeet {

struct Command {
  std::string name;          // as typed: "train dreambooth"
  std::string summary;       // one line, for the list of commands
  std::string about;         // what a newcomer should know first; shown above the options
  std::string example = "";  // a whole command line

  /// Shows the command's options, at their defaults, to a function that lists them.
  std::function<void(const std::function<void(const OptionList&)>&)> with_options = nullptr;
  /// Parses the words after the name and does it. Returns false, having done nothing, when help is asked for.
  std::function<bool(const TextList&)> run = nullptr;
};

/// Binds an options struct, which has `fields(Options&)`, and a function of it into `command`.
template <class Options>
Command bind(Command command, void (*function)(const Options&)) {
  command.with_options = [](const std::function<void(const OptionList&)>& show) {
    Options defaults;
    show(fields(defaults));
  };
  command.run = [function](const TextList& arguments) {
    Options options;
    if (!parse_arguments(arguments, fields(options))) return false;
    function(options);
    return true;
  };
  return command;
}

/// Every command of the program but `help`.
const std::vector<Command>& commands();

/// Those of them that only talk to the Hub, and need no libtorch.
std::vector<Command> hub_command_table();

}  // namespace lorikeet

// What the program says about itself; all of it made from the table of commands and their option lists.
#pragma once

#include "cli/command.h"

namespace lorikeet {

/// All commands on one screen.
std::string overview(const std::vector<Command>& commands);

/// One command with all its options in their groups.
std::string command_help(const Command& command);

/// The command's page of docs/cli, in Markdown.
std::string command_page(const Command& command);
/// docs/cli/README.md: the commands, with links to their pages.
std::string index_page(const std::vector<Command>& commands);

/// One line per option of every command: name, type, default, constraint.
std::string contract(const std::vector<Command>& commands);

/// Does `lorikeet help ...`: the overview, or the named command. Throws UsageError for words that are no command.
std::string help(const TextList& words, const std::vector<Command>& commands);

/// The command that `words` begin with, and how many words its name has; nullptr when there is none.
std::pair<const Command*, size_t> find_command(const TextList& words, const std::vector<Command>& commands);

/// What to throw for words that are no command: names those that begin alike, or the nearest.
[[noreturn]] void refuse_command(const TextList& words, const std::vector<Command>& commands);

}  // namespace lorikeet

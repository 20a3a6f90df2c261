#include "cli/command.h"

namespace lorikeet {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = hub_command_table();
  return table;
}

}  // namespace lorikeet

#include "cli/help.h"

#include <algorithm>
#include <sstream>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

TextList words_of(const std::string& name) {
  std::istringstream in(name);
  TextList words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::string page_name(const Command& command) {
  std::string name = command.name + ".md";
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

std::string joined(const TextList& words) {
  std::string text;
  for (const auto& word : words) {
    if (!text.empty()) text += ", ";
    text += word;
  }
  return text;
}

}  // namespace

std::string overview(const std::vector<Command>& commands) {
  size_t width = 0;
  for (const Command& command : commands) width = std::max(width, command.name.size());
  std::string out =
      "Lorikeet trains LoRAs for Stable Diffusion and draws with them.\n\nUsage: lorikeet COMMAND [OPTIONS]\n\n";
  for (const Command& command : commands) {
    out += "  " + command.name + std::string(width + 2 - command.name.size(), ' ') + command.summary + "\n";
  }
  return out + "\n`lorikeet help COMMAND` lists the options of a command.\n";
}

std::string command_help(const Command& command) {
  std::string out = "Usage: lorikeet " + command.name;
  command.with_options([&](const OptionList& list) { out += list.positional_usage(); });
  out += " [OPTIONS]\n\n" + wrap_text(command.about, 0);
  if (!command.example.empty()) out += "\nExample:\n" + command.example + "\n";
  command.with_options([&](const OptionList& list) { out += list.help_text(); });
  return out;
}

std::string command_page(const Command& command) {
  std::string out = str("<!-- Made by scripts/cli_pages.sh from the program's own option lists; do not edit. -->\n",
                        "# lorikeet ", command.name, "\n\n", command.about, "\n");
  if (!command.example.empty()) out += "\n```\n" + command.example + "\n```\n";
  command.with_options([&](const OptionList& list) { out += list.markdown(); });
  return out;
}

std::string index_page(const std::vector<Command>& commands) {
  std::string out =
      "<!-- Made by scripts/cli_pages.sh from the program's table of commands; do not edit. -->\n"
      "# Commands\n\n| Command | What it does |\n|---|---|\n";
  for (const Command& command : commands) {
    out += str("| [`lorikeet ", command.name, "`](", page_name(command), ") | ", command.summary, " |\n");
  }
  return out +
         "\nEvery option can be written `--name=value` or `--name value`; a flag is `--name` alone. Options can come "
         "from a\n"
         "file, `--config FILE`, in TOML or JSON under the same names; the command line goes before the file, the file "
         "before\n"
         "the defaults. `none` stands for an option that is not set.\n\n"
         "Exit codes: 0 done; 1 files, models, network, disk or numbers; 2 options and their values; 130 "
         "interrupted.\n";
}

std::string contract(const std::vector<Command>& commands) {
  std::string out;
  for (const Command& command : commands) {
    command.with_options([&](const OptionList& list) { out += list.contract(command.name); });
  }
  return out;
}

std::pair<const Command*, size_t> find_command(const TextList& words, const std::vector<Command>& commands) {
  for (const Command& command : commands) {
    const TextList name = words_of(command.name);
    if (words.size() >= name.size() && std::equal(name.begin(), name.end(), words.begin()))
      return {&command, name.size()};
  }
  return {nullptr, 0};
}

void refuse_command(const TextList& words, const std::vector<Command>& commands) {
  TextList names, begun;
  size_t known = 1;  // words that a command's name begins with
  for (const Command& command : commands) {
    const TextList name = words_of(command.name);
    names.push_back(command.name);
    size_t alike = 0;
    while (alike + 1 < name.size() && alike < words.size() && name[alike] == words[alike]) ++alike;
    if (alike == 0 || alike < known) continue;
    if (alike > known) begun.clear();
    known = alike;
    if (begun.empty() || begun.back() != name[alike]) begun.push_back(name[alike]);
  }
  if (!begun.empty()) {
    std::string start;
    for (size_t i = 0; i < known; ++i) start += (i ? " " : "") + words[i];
    const bool has_next = words.size() > known && !words[known].starts_with("-");
    const std::string found = has_next ? str("found '", words[known], "'") : "found none";
    throw UsageError(str("lorikeet ", start, ": one of ", joined(begun), " expected, ", found),
                     str("`lorikeet help ", start, " ", begun.front(), "` describes it"));
  }
  std::string near = nearest_name(words.front(), names);
  if (near.empty() && words.size() > 1) near = nearest_name(str(words[0], " ", words[1]), names);
  throw UsageError(str("unknown command '", words.front(), "'"),
                   near.empty() ? "`lorikeet help` lists the commands" : str("did you mean `lorikeet ", near, "`?"));
}

std::string help(const TextList& words, const std::vector<Command>& commands) {
  if (words.empty()) return overview(commands);
  if (words.front() == "--contract") return contract(commands);
  const bool as_page = words.front() == "--markdown";
  const TextList name(words.begin() + (as_page ? 1 : 0), words.end());
  if (name.empty()) return index_page(commands);
  const auto [command, length] = find_command(name, commands);
  if (command == nullptr) refuse_command(name, commands);
  return as_page ? command_page(*command) : command_help(*command);
}

}  // namespace lorikeet

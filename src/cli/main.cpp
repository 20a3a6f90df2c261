#include <exception>
#include <iostream>
#include <new>

#include "cli/command.h"
#include "cli/download_bars.h"
#include "cli/help.h"
#include "core/errors.h"
#include "core/interrupt.h"

namespace lorikeet {
namespace {

enum ExitCode { kDone = 0, kFailed = 1, kUsage = 2, kInterrupted = 130 };

void run(const TextList& words) {
  if (words.empty() || words.front() == "--help" || words.front() == "-h") {
    std::cout << overview(commands());
    return;
  }
  if (words.front() == "help") {
    std::cout << help({words.begin() + 1, words.end()}, commands());
    return;
  }
  if (words.front() == "--version") return run({"version"});
  const auto [command, length] = find_command(words, commands());
  if (command == nullptr) refuse_command(words, commands());
  install_interrupt_handlers();
  const DownloadBars bars;
  if (!command->run({words.begin() + length, words.end()})) std::cout << command_help(*command);
}

int report(const std::string& message, const std::string& hint, ExitCode code) {
  std::cout.flush();
  std::cerr << "lorikeet: error: " << message << "\n";
  if (!hint.empty()) std::cerr << "  hint: " << hint << "\n";
  return code;
}

/// libtorch puts a stack trace of many lines behind the one that says what is wrong.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

int run_and_report(const TextList& words) {
  try {
    run(words);
    return kDone;
  } catch (const UsageError& error) {
    return report(error.what(), error.hint(), kUsage);
  } catch (const Interrupted& stop) {
    std::cerr << "lorikeet: " << stop.what() << "\n";
    if (!stop.hint().empty()) std::cerr << "  hint: " << stop.hint() << "\n";
    return kInterrupted;
  } catch (const Error& error) {
    return report(error.what(), error.hint(), kFailed);
  } catch (const std::bad_alloc&) {
    return report("out of memory", "`lorikeet doctor` tells how much there is", kFailed);
  } catch (const std::exception& error) {
    return report(first_line(error.what()), "", kFailed);
  }
}

}  // namespace
}  // namespace lorikeet

int main(int argc, char** argv) { return lorikeet::run_and_report({argv + 1, argv + argc}); }

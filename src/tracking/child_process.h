// Another program, run to its end.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lorikeet {

struct ChildProgram {
  std::vector<std::string> words;  // the program's path, then its arguments; no shell reads them
  std::vector<std::pair<std::string, std::string>> environment;  // added to, or in place of, ours
  std::chrono::milliseconds time_limit{600'000};
};

/// The path of an executable file `name` in a folder of PATH, or nothing.
std::optional<std::string> find_program(const std::string& name);

/// Runs it with an empty standard input; what it writes, to standard error too, comes line by line (a carriage return
/// ends a line as well; colours and other control characters are gone). Returns its exit code, 128 + N when signal N
/// ended it, or nothing when it was stopped with all it started, because its time was up or `stop_requested()`.
/// Throws FileError when it cannot be started.
std::optional<int> run_child(const ChildProgram& program, const std::function<void(std::string_view)>& line);

}  // namespace lorikeet

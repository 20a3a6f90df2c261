#include "tracking/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "core/errors.h"
#include "core/interrupt.h"
#include "core/text.h"

namespace lorikeet {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kPollMs = 100;
constexpr std::chrono::seconds kGrace{3};  // between the polite signal and the other one

/// Puts bytes together to lines and leaves out what is meant for a terminal.
class LineReader {
 public:
  explicit LineReader(const std::function<void(std::string_view)>& line) : line_(line) {}
  ~LineReader() { end_line(); }

  void read(std::string_view bytes) {
    for (const char c : bytes) {
      if (in_escape_) {
        // ESC [ digits and ; then one letter; other sequences are two characters long.
        in_escape_ = c == '[' || c == ';' || (c >= '0' && c <= '9') || c == '?';
      } else if (c == '\x1B') {
        in_escape_ = true;
      } else if (c == '\n' || c == '\r') {
        end_line();
      } else if (static_cast<unsigned char>(c) >= ' ' || c == '\t') {
        text_ += c;
        if (text_.size() >= kLongest) end_line();
      }
    }
  }

 private:
  static constexpr size_t kLongest = 4096;
  void end_line() {
    if (!text_.empty()) line_(text_);
    text_.clear();
  }
  const std::function<void(std::string_view)>& line_;
  std::string text_;
  bool in_escape_ = false;
};

std::vector<std::string> merged_environment(const std::vector<std::pair<std::string, std::string>>& changes) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view known(*entry);
    const std::string_view name = known.substr(0, known.find('='));
    bool changed = false;
    for (const auto& change : changes) changed |= change.first == name;
    if (!changed) all.emplace_back(known);
  }
  for (const auto& [name, value] : changes) all.push_back(str(name, "=", value));
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

/// posix_spawn, since fork is not safe beside other threads and a GPU. In a process group of its own: Ctrl-C is ours to
/// hand on, and all that the program started can be stopped with it.
pid_t start(const ChildProgram& program, int output) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults, none;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGXFSZ}) sigaddset(&defaults, number);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  auto words = program.words;
  auto environment = merged_environment(program.environment);
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, words[0].c_str(), &files, &attributes, pointers(words).data(), pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw FileError(str("cannot start ", words[0], ": ", std::strerror(error)));
  return pid;
}

/// The exit code once it has ended.
std::optional<int> ended(pid_t pid) {
  int status = 0;
  const pid_t result = ::waitpid(pid, &status, WNOHANG);
  if (result == 0 || (result < 0 && errno == EINTR)) return std::nullopt;
  if (result < 0) return 1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void stop(pid_t pid) {
  ::kill(-pid, SIGTERM);
  const auto until = Clock::now() + kGrace;
  while (!ended(pid)) {
    if (Clock::now() > until) {
      ::kill(-pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
      return;
    }
    ::poll(nullptr, 0, kPollMs);
  }
  ::kill(-pid, SIGKILL);  // what it started itself and left behind
}

/// Reads what is there, waiting a little for it; false at the end.
bool read_some(int descriptor, int wait_ms, LineReader& lines) {
  pollfd wanted{descriptor, POLLIN, 0};
  if (::poll(&wanted, 1, wait_ms) <= 0) return false;
  char buffer[4096];
  const ssize_t count = ::read(descriptor, buffer, sizeof buffer);
  if (count > 0) lines.read({buffer, static_cast<size_t>(count)});
  return count > 0;
}

}  // namespace

std::optional<std::string> find_program(const std::string& name) {
  const char* variable = std::getenv("PATH");
  const std::string folders = variable ? variable : "";
  for (size_t begin = 0; begin <= folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    const std::string folder = folders.substr(begin, end - begin);
    const std::string path = (folder.empty() ? "." : folder) + "/" + name;
    std::error_code error;
    if (::access(path.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(path, error)) return path;
    begin = end + 1;
  }
  return std::nullopt;
}

std::optional<int> run_child(const ChildProgram& program, const std::function<void(std::string_view)>& line) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw FileError(str("cannot start ", program.words.at(0), ": no pipe"));
  pid_t pid = -1;
  try {
    pid = start(program, ends[1]);
  } catch (...) {
    ::close(ends[0]);
    ::close(ends[1]);
    throw;
  }
  ::close(ends[1]);
  std::optional<int> code;
  {
    LineReader lines(line);
    const auto until = Clock::now() + program.time_limit;
    // Its own end counts, not the pipe's: a helper that it left behind may hold the pipe open.
    while (!(code = ended(pid))) {
      if (Clock::now() > until || stop_requested()) {
        stop(pid);
        break;
      }
      if (!read_some(ends[0], kPollMs, lines)) ::poll(nullptr, 0, 10);
    }
    while (read_some(ends[0], 0, lines)) {
    }
  }
  ::close(ends[0]);
  return code;
}

}  // namespace lorikeet

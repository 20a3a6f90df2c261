#pragma once

#include <cstdlib>
#include <map>
#include <optional>
#include <string>

extern char** environ;

namespace lorikeet {

/// Changes the environment for one test. At first nothing of the tester's own W&B set-up is left in it.
class TestEnvironment {
 public:
  TestEnvironment() {
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string text(*entry);
      const std::string name = text.substr(0, text.find('='));
      if (name.starts_with("WANDB_") || name == "NETRC") before_[name] = text.substr(name.size() + 1);
    }
    for (const auto& [name, value] : before_) ::unsetenv(name.c_str());
  }
  ~TestEnvironment() {
    for (const auto& [name, value] : before_) {
      if (value) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
  }
  void set(const std::string& name, const std::string& value) {
    if (!before_.contains(name)) {
      const char* now = std::getenv(name.c_str());
      before_[name] = now ? std::optional<std::string>(now) : std::nullopt;
    }
    ::setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

}  // namespace lorikeet

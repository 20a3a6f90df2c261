// The few exception types of Lorikeet. `main` is the only place that catches them.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace lorikeet {

/// Says what went wrong, with which value, and what was expected; `hint()` says what to do about it.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, std::string hint = "")
      : std::runtime_error(message), hint_(std::move(hint)) {}
  const std::string& hint() const { return hint_; }

 private:
  std::string hint_;
};

/// A flag or its value is wrong: exit code 2.
class UsageError : public Error {
  using Error::Error;
};

/// A file or folder cannot be found, read or written: exit code 1.
class FileError : public Error {
  using Error::Error;
};

/// A file was read, but what is in it is not what it should be: exit code 1.
class FormatError : public Error {
  using Error::Error;
};

/// The Hugging Face Hub, or its cache on this machine, cannot give what was asked for: exit code 1.
class HubError : public Error {
  using Error::Error;
};

/// A number that must be finite is not: exit code 1.
class NumericError : public Error {
  using Error::Error;
};

/// The user asked to stop: exit code 130, after a clean checkpoint.
class Interrupted : public Error {
  using Error::Error;
};

}  // namespace lorikeet

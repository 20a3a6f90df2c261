// SHA-1 and SHA-256 (FIPS 180-4), by OpenSSL.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace lorikeet {

/// 40 and 64 hexadecimal digits.
std::string sha1_hex(std::string_view bytes);
std::string sha256_hex(std::string_view bytes);

/// The same of bytes that come piece by piece.
class RunningDigest {
 public:
  enum class Kind { kSha1, kSha256 };
  explicit RunningDigest(Kind kind);
  ~RunningDigest();
  RunningDigest(RunningDigest&&) noexcept;
  RunningDigest& operator=(RunningDigest&&) noexcept;

  void update(std::string_view bytes);
  /// Ends it: call it once, last.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lorikeet

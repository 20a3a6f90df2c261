// What tests of files share: a folder of their own, damaged bytes, and the errors they must lead to.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace lorikeet {

/// A folder of its own for the running test, gone when the test is over.
class TestFolder {
 public:
  TestFolder() : path_(std::filesystem::path(testing::TempDir()) / name()) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& file, const std::string& bytes) const {
    std::ofstream(path_ / file, std::ios::binary) << bytes;
    return path_ / file;
  }

 private:
  static std::string name() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    return std::string("lorikeet_") + test->test_suite_name() + "_" + test->name() + "_" + std::to_string(::getpid());
  }
  std::filesystem::path path_;
};

/// The bytes of a file with this header, whatever it says, followed by this data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes + header + data;
}

/// Runs `action`, which must throw an E whose message holds `part`; gives the hint.
template <class E, class Action>
std::string expect_error(const std::string& part, Action action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with: " << part;
  } catch (const E& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what() << "\nlacks: " << part;
    return error.hint();
  }
  return "";
}

}  // namespace lorikeet

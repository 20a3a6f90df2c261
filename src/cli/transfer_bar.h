// A progress bar for the files that come or go, one after another.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/progress.h"

namespace lorikeet {

/// A file of less than a megabyte has none.
class TransferBar {
 public:
  /// The file of this name stands at `done` of `total` bytes; 0 where the whole is not known. At the total, and with
  /// another file, its bar ends.
  void show(const std::string& name, int64_t done, int64_t total);

 private:
  std::unique_ptr<ProgressBar> bar_;
  std::string name_;
};

}  // namespace lorikeet

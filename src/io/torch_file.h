// Files that Python's torch.save wrote, read without running what is in them.
#pragma once

#include <filesystem>

#include "io/pickle_reader.h"

namespace lorikeet {

/// How a file's storages come into memory: read and checked against their checksums, or mapped, so that only what is
/// looked at is ever read, as one wants of gigabytes of weights. Mapped, the file must not be changed meanwhile.
enum class TorchStorages { kRead, kMapped };

/// Keeps a file's values; tensors are on the CPU and outlive it. Read: None, bool, int (to 64 bits), float, str, bytes,
/// list, tuple, set, dict, OrderedDict, defaultdict, torch.Size, tensors and Parameters of every whole-byte element
/// type, numpy arrays and numbers; devices as text.
class TorchFile {
 public:
  /// Throws FileError when the file cannot be read; FormatError when it is no zip file of torch.save's (1.6 or later),
  /// is damaged, or its pickle wants anything but data: "...: the pickle wants to call os.system, which is refused".
  explicit TorchFile(const std::filesystem::path& path, TorchStorages storages = TorchStorages::kRead);

  const PickleValue& root() const { return *document_.root; }

 private:
  PickleDocument document_;
};

}  // namespace lorikeet

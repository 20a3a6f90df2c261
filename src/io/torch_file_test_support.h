// Zip files and pickles made by hand, damaged on purpose.
#pragma once

#include <zlib.h>

#include <string>
#include <utility>
#include <vector>

#include "core/text.h"

namespace lorikeet {

inline std::string little(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

/// A zip file of stored entries, with right checksums.
inline std::string zip_bytes(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string bytes, directory;
  for (const auto& [name, data] : entries) {
    const auto crc = ::crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size()));
    const std::string middle = std::string("\x14\0\0\0\0\0\0\0\0\0", 10) + little(crc, 4) + little(data.size(), 4) +
                               little(data.size(), 4) + little(name.size(), 2) + little(0, 2);
    directory += "PK\1\2" + little(20, 2) + middle + std::string(10, char{}) + little(bytes.size(), 4) + name;
    bytes += "PK\3\4" + middle + name + data;
  }
  const auto count = little(entries.size(), 2);
  return bytes + directory + "PK\5\6" + little(0, 4) + count + count + little(directory.size(), 4) +
         little(bytes.size(), 4) + little(0, 2);
}

/// A torch.save file of this pickle (without its begin and end) and these storages.
inline std::string torch_bytes(const std::string& body, const std::vector<std::string>& storages = {}) {
  std::vector<std::pair<std::string, std::string>> entries{{"x/data.pkl", "\x80\x02" + body + "."},
                                                           {"x/byteorder", "little"}};
  for (size_t i = 0; i < storages.size(); ++i) entries.emplace_back("x/data/" + std::to_string(i), storages[i]);
  return zip_bytes(entries);
}

// Pieces of pickles.
inline std::string pickled(const std::string& text) { return str("X", little(text.size(), 4), text); }
inline std::string pickled(int32_t number) { return str("J", little(static_cast<uint32_t>(number), 4)); }
inline std::string global_of(const std::string& module, const std::string& name) {
  return str("c", module, "\n", name, "\n");
}
inline std::string storage_of(const std::string& type, const std::string& key, int32_t count) {
  return str("(", pickled("storage"), global_of("torch", type), pickled(key), pickled("cpu"), pickled(count), "tQ");
}
/// A float tensor of one dimension in storage 0, which has `count` elements.
inline std::string tensor_of(int32_t count, int32_t offset, int32_t size, int32_t stride) {
  return str(global_of("torch._utils", "_rebuild_tensor_v2"), "(", storage_of("FloatStorage", "0", count),
             pickled(offset), pickled(size), "\x85", pickled(stride), "\x85", "\x89)tR");
}

/// A dict of one float tensor of one element, in storage 0.
inline std::string state_dict_of(const std::string& name) {
  return str("}(", pickled(name), tensor_of(1, 0, 1, 1), "u");
}

}  // namespace lorikeet

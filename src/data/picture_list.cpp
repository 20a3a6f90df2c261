#include <algorithm>
#include <fstream>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "core/listed.h"
#include "core/text.h"
#include "data/picture_set.h"
#include "io/image_size.h"

namespace lorikeet {
namespace {

bool looks_like_picture(const std::filesystem::path& file) {
  char head[12] = {};
  std::ifstream(file, std::ios::binary).read(head, sizeof head);
  return starts_like_picture({head, sizeof head});
}

}  // namespace

std::vector<PictureRecord> list_pictures(const std::filesystem::path& folder, std::vector<std::string>& skipped,
                                         int64_t limit) {
  std::error_code error;
  std::vector<std::filesystem::path> entries;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  if (error) {
    throw FileError(str("cannot read the picture folder ", folder.string(), ": ", error.message()),
                    "give a folder with JPEG, PNG or WebP pictures directly in it");
  }
  std::sort(entries.begin(), entries.end());
  std::vector<PictureRecord> records;
  for (const auto& entry : entries) {
    if (is_unfinished_file(entry)) continue;
    if (std::filesystem::is_regular_file(entry, error) && looks_like_picture(entry)) {
      if (entry.filename().string().ends_with(".mask.png")) continue;  // belongs to the picture beside it
      if (limit >= 0 && static_cast<int64_t>(records.size()) >= limit) continue;
      PictureRecord record;
      record.name = entry.filename().string();
      record.file = entry;
      auto mask = entry;
      mask.replace_extension(".mask.png");
      if (std::filesystem::is_regular_file(mask, error)) record.mask = mask;
      records.push_back(std::move(record));
    } else {
      skipped.push_back(entry.filename().string());
    }
  }
  if (records.empty()) {
    throw FileError(str("there is no JPEG, PNG or WebP picture in ", folder.string(),
                        skipped.empty() ? ", it is empty" : str(", only ", listed(skipped))),
                    "put the pictures directly into this folder");
  }
  return records;
}

}  // namespace lorikeet

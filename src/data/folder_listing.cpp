#include "data/folder_listing.h"

#include <algorithm>
#include <system_error>

#include "core/errors.h"
#include "core/text.h"

namespace lorikeet {
namespace {

namespace fs = std::filesystem;

void list_entry(const fs::directory_entry& entry, const std::string& path, FolderListing& listing,
                std::vector<std::string>& folders) {
  const std::string base = entry.path().filename().string();
  if (base.starts_with(".")) return;
  std::error_code error;
  const fs::file_type type = entry.status(error).type();  // of what a link leads to
  if (type == fs::file_type::regular) {
    listing.files.push_back(path);
  } else if (type != fs::file_type::directory) {
    listing.passed_over.push_back({path, entry.is_symlink(error) ? "a broken link" : "not a regular file"});
  } else if (entry.is_symlink(error)) {
    listing.passed_over.push_back({path, "a link to a folder, which is not followed"});
  } else if (!base.starts_with("__")) {
    folders.push_back(path);
  }
}

}  // namespace

FolderListing list_folder(const fs::path& root) {
  FolderListing listing;
  std::vector<std::string> folders{""};
  while (!folders.empty()) {
    const std::string folder = std::move(folders.back());
    folders.pop_back();
    std::error_code error;
    for (fs::directory_iterator it(root / folder, error), end; !error && it != end; it.increment(error)) {
      const std::string base = it->path().filename().string();
      list_entry(*it, folder.empty() ? base : folder + "/" + base, listing, folders);
    }
    if (error) {
      throw FileError(str("cannot read the data set's folder ", (folder.empty() ? root : root / folder).string(), ": ",
                          error.message()),
                      "--train_data_dir expects a folder with pictures and captions");
    }
  }
  std::sort(listing.files.begin(), listing.files.end());
  std::sort(listing.passed_over.begin(), listing.passed_over.end(),
            [](const SkippedFile& a, const SkippedFile& b) { return a.name < b.name; });
  return listing;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string base_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

}  // namespace lorikeet

// All files below a folder, as data sets see them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/picture_dataset.h"

namespace lorikeet {

/// Files below a folder, by their paths relative to it with '/' between the parts, sorted by bytes.
struct FolderListing {
  std::vector<std::string> files;
  std::vector<SkippedFile> passed_over;  // linked folders, sockets and the like, broken links
};

/// Lists regular files and links to them. Hidden files and folders and folders beginning with "__" are left out
/// without a word; links to folders are not followed, so that loops are harmless. Throws FileError when the folder, or
/// one in it, cannot be read.
FolderListing list_folder(const std::filesystem::path& folder);

/// "a/b/c.png" -> "a/b"; "" for a file directly in the folder.
std::string folder_of(const std::string& path);
/// "a/b/c.png" -> "c.png".
std::string base_of(const std::string& path);

}  // namespace lorikeet

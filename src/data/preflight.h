// What there is to know about a data set before a training begins.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/picture_record.h"

namespace lorikeet {

struct PreflightOptions {
  int64_t resolution = 512;     // pictures with a shorter side below it are told of
  double extreme_shape = 3;     // longer side / shorter side from which on they are told of
  bool full_decode = false;     // decode every picture, not only its header
  bool find_duplicates = true;  // reads the pictures that have as many bytes as another
  int64_t threads = 1;
  /// How many tokens a caption needs, start and end among them; empty: captions are not counted in tokens.
  std::function<int64_t(const std::string&)> count_tokens;
  int64_t most_tokens = 77;    // what a text encoder reads of it
  std::function<bool()> stop;  // asked now and then; true ends the checks early. May be empty.
};

/// How many there are of a kind, with the first few named.
struct NameList {
  static constexpr size_t kMostNames = 20;
  int64_t count = 0;
  std::vector<std::string> names;

  void add(std::string name) {
    if (names.size() < kMostNames) names.push_back(std::move(name));
    ++count;
  }
};

struct CaptionStatistics {
  int64_t count = 0, distinct = 0, empty = 0;
  int64_t shortest = 0, longest = 0;  // characters
  NameList cut_off;                   // "a.png: 91 tokens", once per distinct caption
};

struct PreflightReport {
  int64_t pictures = 0;   // records
  int64_t per_epoch = 0;  // with their repeats
  int64_t measured = 0;   // whose size is known; smallest and largest by area are of these
  int64_t smallest_width = 0, smallest_height = 0, largest_width = 0, largest_height = 0;
  NameList unreadable;      // "a.png: why"
  NameList too_small;       // "a.png (300 x 200)"
  NameList extreme_shapes;  // "a.png (4000 x 100)"
  NameList duplicates;      // "b.png = a.png"
  int64_t masks = 0;        // pictures that have one
  NameList bad_masks;       // that cannot be read, or have another size than their picture
  CaptionStatistics captions;
  int64_t most_tokens = 77;
  int64_t resolution = 512;
  bool decoded = false;  // every picture, not only headers
  bool counted_tokens = false;
  bool stopped = false;  // early: what follows from the rest of the pictures is not known
};

/// Measures all pictures (filling width and height of the records, 0 for those that cannot be read, and with
/// full_decode their sha256), on options.threads threads, and gathers the report, which does not depend on the number
/// of threads. Holds one picture per thread. `progress` (may be empty) is called from one thread at a time.
PreflightReport check_pictures(std::vector<PictureRecord>& records, const PreflightOptions& options,
                               const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace lorikeet

// What a caption goes through before it is read: a choice, a drop, a shuffle.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/python_random.h"

namespace lorikeet {

struct CaptionOptions {
  std::string prefix;       // put before every caption, with a blank
  double dropout_rate = 0;  // share of captions left empty
  bool shuffle = false;     // the parts between separators
  int64_t keep_tokens = 0;  // parts at the front that keep their place
  std::string separator = ",";
};

/// One of `captions`, as training reads it. Draws from `random` one choice when there are several (or a list of one was
/// given: `is_list`), then a number for the dropout, then the shuffle; nothing for what is off.
/// Source of the choice: random.choice in Diffusers' script; of the rest: what users of kohya's scripts expect.
std::string draw_caption(const std::vector<std::string>& captions, bool is_list, const CaptionOptions& options,
                         PythonRandom& random);

/// Every text that draw_caption can give for these captions; empty when there are too many to list (a shuffle).
std::vector<std::string> possible_captions(const std::vector<std::string>& captions, const CaptionOptions& options);

}  // namespace lorikeet

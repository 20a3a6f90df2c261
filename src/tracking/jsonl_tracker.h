#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "tracking/tracker.h"

namespace lorikeet {

/// A log of one JSON object per line, each line on disk as soon as it is logged:
///   {"time": 1700000000.5, "config": {...}}
///   {"step": 1, "time": 1700000001.2, "loss": 0.25, "lr": 0.0001}       (a value that is not finite is null)
///   {"step": 0, "time": 1700000002.0, "images": {"validation": ["0: a caption", ...]}}
///
/// A run resumed at `first_step` > 0 goes on in the same file; lines that the interrupted run wrote after that step are
/// cut off, since their steps are made again: what is behind the first `records` lines of values and pictures, or,
/// where nobody counted them, behind the first line of that step. Another run's file is kept as NAME.previous.jsonl.
/// Lines that cannot be written are tried again with the next one, up to a megabyte of them.
std::unique_ptr<Tracker> make_jsonl_tracker(const std::filesystem::path& file, int64_t first_step = 0,
                                            std::optional<int64_t> records = std::nullopt);

}  // namespace lorikeet

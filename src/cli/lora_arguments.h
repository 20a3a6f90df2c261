// What several commands say about LoRA files: FILE:WEIGHT, dialects, dtypes, and what has no effect.
#pragma once

#include <string>
#include <vector>

#include "core/options.h"
#include "lora/lora_writer.h"
#include "pipelines/adapter_weight.h"
#include "pipelines/lora_report.h"

namespace lorikeet {

/// "style.safetensors:0.8"; without a number behind the last colon the weight is 1 and the colon part of the name.
struct LoraArgument {
  std::string path;
  double weight = 1;
};
/// Throws UsageError for an empty name or a weight that is not finite.
LoraArgument parse_lora_argument(const std::string& text, const std::string& flag);

/// Adds --to and --dtype.
void add_write_options(OptionList& list, std::string& to, std::string& dtype);
LoraWriteOptions write_options(const std::string& to, const std::string& dtype);

/// Reads a file and says in warnings what of it is not used; with `strict` that is a FormatError.
LoraFile read_lora_argument(const std::string& path, bool strict);
/// Writes it, and says so: "wrote OUT: 192 layers, diffusers, 3.1 MB". Words that the dialect has no place for are told
/// in a warning.
void write_and_tell(const std::string& path, const LoraFile& file, const LoraWriteOptions& options);

/// What was loaded, and in warnings what has no effect in the model.
void tell_report(const std::string& path, const LoraReport& report);

}  // namespace lorikeet

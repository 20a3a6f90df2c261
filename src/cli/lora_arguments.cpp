#include "cli/lora_arguments.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "core/errors.h"
#include "core/listed.h"
#include "core/log.h"
#include "core/text.h"
#include "engine/device.h"
#include "hub/fetch_by_name.h"
#include "lora/lora_parts.h"

namespace lorikeet {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMostNamed = 8;

void tell_unused(const std::string& path, const std::vector<std::string>& unused) {
  if (unused.empty()) return;
  log_warning(str(path, ": ", unused.size(), unused.size() == 1 ? " part has" : " parts have",
                  " no effect: ", listed(unused, kMostNamed)));
}

}  // namespace

LoraArgument parse_lora_argument(const std::string& text, const std::string& flag) {
  LoraArgument argument{text, 1};
  const auto colon = text.rfind(':');
  if (colon != std::string::npos && colon + 1 < text.size()) {
    const std::string number = text.substr(colon + 1);
    char* end = nullptr;
    const double weight = std::strtod(number.c_str(), &end);
    if (*end == '\0') argument = {text.substr(0, colon), weight};
  }
  if (argument.path.empty() || !std::isfinite(argument.weight)) {
    throw UsageError(str(flag, ": \"", text, "\" is not FILE or FILE:WEIGHT"), "for example style.safetensors:0.8");
  }
  return argument;
}

void add_write_options(OptionList& list, std::string& to, std::string& dtype) {
  list.add("to", &to, "Dialect to write: diffusers, peft, or kohya (for A1111, ComfyUI and others).")
      .choices({"diffusers", "peft", "kohya"});
  list.add("dtype", &dtype, "Precision of the numbers in the file.").choices({"fp32", "fp16", "bf16"});
}

LoraWriteOptions write_options(const std::string& to, const std::string& dtype) {
  LoraWriteOptions options;
  options.dialect = to == "peft" ? LoraDialect::kPeft : to == "kohya" ? LoraDialect::kKohya : LoraDialect::kDiffusers;
  options.dtype = parse_dtype(dtype, torch::kCUDA);  // files of half precision are no matter of this machine's device
  return options;
}

LoraFile read_lora_argument(const std::string& path, bool strict) {
  auto file = read_lora_file(fetch_lora_file(path));
  std::vector<std::string> unused;
  for (const auto& [key, reason] : file.unused) unused.push_back(str(key, " (", reason, ")"));
  if (strict && !unused.empty()) {
    throw FormatError(str(path, ": ", unused.size(), " keys are not used: ", listed(unused, kMostNamed)),
                      "leave out --strict to go on without them");
  }
  tell_unused(path, unused);
  return file;
}

void write_and_tell(const std::string& path, const LoraFile& file, const LoraWriteOptions& options) {
  std::error_code error;
  if (fs::is_directory(path, error)) throw FileError(str("cannot write ", path, ": it is a folder"));
  if (const auto folder = fs::path(path).parent_path(); !folder.empty()) fs::create_directories(folder, error);
  write_lora_file(path, file, options);
  size_t layers = 0;
  for (const auto& part : kLoraParts) layers += (file.*part.layers).size();
  log_info(str("wrote ", path, ": ", layers, layers == 1 ? " layer, " : " layers, ", fs::file_size(path, error) / 1024,
               " KiB"));
  if (file.words.empty() || options.dialect == LoraDialect::kKohya) return;
  std::vector<std::string> words;
  for (const auto& word : file.words) words.push_back(word.word);
  log_warning(str("the learned words ", listed(words), " are not in it: only --to=kohya has a place for them"));
}

void tell_report(const std::string& path, const LoraReport& report) {
  std::string words;
  if (!report.words.empty()) words = str("; new words for prompts: ", listed(report.words));
  log_info(str("LoRA ", path, " (", report.dialect, "): ", report.unet_layers, " layers of the UNet, ",
               report.text_encoder_layers, " of the text encoder", words));
  tell_unused(path, report.unmatched);
}

}  // namespace lorikeet

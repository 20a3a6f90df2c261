// `lorikeet generate`: pictures from prompts.
#pragma once

#include "cli/generate_options.h"

namespace lorikeet {

/// Draws and writes the pictures that `options` ask for. Throws what StableDiffusionPipeline throws, and FileError
/// before any work when an output cannot be written.
void generate(const GenerateOptions& options);

}  // namespace lorikeet

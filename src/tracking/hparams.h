// The options of a run as TensorBoard's "hparams" page and accelerate's hparams.yml want them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tracking/event_file.h"

namespace lorikeet {

/// The three Summary.Value messages of torch's SummaryWriter.add_hparams, in its order, for one JSON object:
/// numbers and booleans as numbers, texts as texts, null left out; lists, which torch refuses, as their JSON text.
std::vector<ProtoMessage> hparams_values(const std::string& json);

/// The object as YAML, one line per key in alphabetical order, read back unchanged by PyYAML.
std::string hparams_yaml(const std::string& json);

}  // namespace lorikeet

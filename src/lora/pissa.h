// PiSSA's bookkeeping: what an adapter starts with is taken out of its layer's weight, so that nothing changes at
// first. Source: Meng et al. 2024, arXiv 2404.02948; the file written as PEFT's conversion to a plain LoRA.
#pragma once

#include "lora/adapter.h"

namespace lorikeet {

/// Takes the product of the adapter's pair, as it is now, out of the layer's weight, and keeps the pair in `taken_out`.
void take_out(AdaptableLayer& layer, LoraAdapter& adapter);

/// As if these factors ("down", "up") had been taken out: what a resumed run began with. Changes no bit where they are
/// those that were. Throws FormatError for other shapes.
void replace_taken_out(AdaptableLayer& layer, LoraAdapter& adapter,
                       const std::map<std::string, torch::Tensor>& factors);

/// What the adapter changes in the model as it was loaded. For PiSSA that is the difference to what was taken out, a
/// plain LoRA of twice the rank; for all others its values.
LayerChange change_of_base(const LoraAdapter& adapter);

}  // namespace lorikeet

// Tensors and numpy arrays out of a pickle: what the allowed names of pickle_globals.cpp do.
#pragma once

#include <vector>

#include "io/pickle_heap.h"

namespace lorikeet {

/// torch._utils._rebuild_tensor (4 arguments), _v2 (6) and _v3 (7, with the element type): a view into a storage.
/// Refused: one that reaches out of it, or has more elements than it (expanded).
PickleRef pickle_tensor(PickleHeap& heap, const std::vector<PickleRef>& arguments);
/// torch._utils._rebuild_parameter: the tensor itself.
PickleRef pickle_parameter(PickleHeap& heap, const std::vector<PickleRef>& arguments);

/// numpy.dtype(code, ...), and whether its state says that it is big-endian.
PickleRef pickle_numpy_type(PickleHeap& heap, const std::vector<PickleRef>& arguments);
bool pickle_is_swapped(PickleHeap& heap, const PickleValue& state);
/// numpy._core.multiarray._reconstruct, then the array's state (version, shape, type, Fortran order, bytes).
PickleRef pickle_empty_array(PickleHeap& heap, const std::vector<PickleRef>& arguments);
torch::Tensor pickle_array(PickleHeap& heap, const PickleValue& state);
/// numpy._core.multiarray.scalar(type, bytes): a number, or True or False.
PickleRef pickle_numpy_scalar(PickleHeap& heap, const std::vector<PickleRef>& arguments);

}  // namespace lorikeet

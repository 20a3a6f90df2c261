#include "engine/autocast.h"

#include <ATen/autocast_mode.h>

namespace lorikeet {
namespace {

thread_local AutocastState t_innermost;

void apply(const AutocastState& state) {
  at::autocast::set_autocast_enabled(state.device, state.enabled);
  at::autocast::set_autocast_dtype(state.device, state.dtype);
}

}  // namespace

AutocastState current_autocast(torch::DeviceType device) {
  return {at::autocast::is_autocast_enabled(device), device, at::autocast::get_autocast_dtype(device)};
}

AutocastState current_autocast() { return current_autocast(t_innermost.device); }

AutocastScope::AutocastScope(const AutocastState& state)
    : previous_(current_autocast(state.device)), previous_innermost_(t_innermost) {
  t_innermost = state;
  at::autocast::increment_nesting();
  apply(state.enabled ? state : AutocastState{false, state.device, previous_.dtype});
}

AutocastScope::~AutocastScope() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  apply(previous_);
  t_innermost = previous_innermost_;
}

}  // namespace lorikeet

#include "engine/activation_checkpoint.h"

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/saved_variable_hooks.h>

#include <optional>

#include "core/text.h"
#include "engine/autocast.h"
#include "engine/random.h"

namespace lorikeet {
namespace {

/// One checkpointed call: what is needed to repeat it, and the tensors a repetition has brought back.
struct Frame {
  TensorFunction function;
  std::vector<torch::Tensor> inputs;
  std::vector<torch::Generator> generators;
  std::vector<torch::Tensor> generator_states;
  AutocastState autocast;
  int64_t saved = 0;  // tensors the first pass would have kept
  bool recomputed = false;
  std::vector<torch::Tensor> tensors;

  void recompute(int64_t last_needed);
};

/// What the hooks of the running thread do with a tensor that autograd wants to keep.
struct Recording {
  std::shared_ptr<Frame> frame;
  bool keep = false;  // first pass: count and forget; recomputation: keep
};
thread_local Recording* t_recording = nullptr;
thread_local std::vector<torch::Generator> t_generators;

struct RecordingScope {
  explicit RecordingScope(Recording* recording) : previous(t_recording) { t_recording = recording; }
  ~RecordingScope() { t_recording = previous; }
  Recording* previous;
};

class CheckpointHooks : public torch::autograd::SavedVariableHooks {
 public:
  explicit CheckpointHooks(Recording* recording) : frame_(recording->frame), keep_(recording->keep) {}

  void call_pack_hook(const at::Tensor& tensor) override {
    if (keep_) {
      kept_ = tensor.detach();
      frame_->tensors.push_back(kept_);
    } else {
      index_ = frame_->saved++;
    }
  }

  at::Tensor call_unpack_hook() override {
    if (keep_) return kept_;
    if (!frame_->recomputed) frame_->recompute(index_);
    // Handed out once: backward frees as it goes, as it would without checkpointing.
    return std::move(frame_->tensors.at(static_cast<size_t>(index_)));
  }

 private:
  std::shared_ptr<Frame> frame_;
  bool keep_;
  int64_t index_ = -1;
  at::Tensor kept_;
};

/// libtorch asks its engine for default hooks; only Python's engine has any. This one brings ours.
class HookedEngine : public torch::autograd::Engine {
 public:
  std::unique_ptr<torch::autograd::SavedVariableHooks> get_default_saved_variable_hooks() override {
    if (t_recording == nullptr) return nullptr;
    return std::make_unique<CheckpointHooks>(t_recording);
  }
  static Engine& instance() {
    static auto* engine = new HookedEngine;  // never destroyed: its threads may outlive static destruction
    return *engine;
  }
  static void install() {
    static const bool installed = (torch::autograd::set_default_engine_stub(&HookedEngine::instance), true);
    (void)installed;
  }
};

void Frame::recompute(int64_t last_needed) {
  recomputed = true;
  std::vector<torch::Tensor> detached;
  for (const auto& input : inputs) {
    detached.push_back(input.defined() ? input.detach().set_requires_grad(input.requires_grad()) : input);
  }
  std::vector<torch::Tensor> states_now;
  for (size_t i = 0; i < generators.size(); ++i) {
    states_now.push_back(generator_state(generators[i]));
    set_generator_state(generators[i], generator_states[i]);
  }
  {
    auto self = std::shared_ptr<Frame>(this, [](Frame*) {});  // the hooks below die with this scope's graph
    Recording recording{self, /*keep=*/true};
    RecordingScope scope(&recording);
    torch::AutoGradMode grad(true);
    AutocastScope precision(autocast);
    function(detached);
  }
  for (size_t i = 0; i < generators.size(); ++i) set_generator_state(generators[i], states_now[i]);
  inputs.clear();
  function = nullptr;
  TORCH_CHECK(static_cast<int64_t>(tensors.size()) == saved, "checkpointed block saved ", saved,
              " tensors, its recomputation ", tensors.size(), ", and tensor ", last_needed, " was needed");
}

}  // namespace

std::vector<torch::Tensor> activation_checkpoint(const TensorFunction& function, std::vector<torch::Tensor> inputs) {
  if (!torch::GradMode::is_enabled()) return function(inputs);
  HookedEngine::install();
  auto frame = std::make_shared<Frame>();
  frame->function = function;
  frame->inputs = inputs;
  frame->generators = t_generators;
  for (const auto& generator : frame->generators) frame->generator_states.push_back(generator_state(generator));
  frame->autocast = current_autocast();
  Recording recording{frame, /*keep=*/false};
  RecordingScope scope(&recording);
  return function(inputs);
}

CheckpointedGenerators::CheckpointedGenerators(std::vector<torch::Generator> generators) : previous_(t_generators) {
  t_generators = std::move(generators);
}

CheckpointedGenerators::~CheckpointedGenerators() { t_generators = std::move(previous_); }

}  // namespace lorikeet

// Runs one model on given tensors, so that tests can hold it against the Python libraries:
//   model_tool MODEL_FOLDER INPUTS.safetensors OUTPUTS.safetensors [float32|bfloat16|float16] [--tiling] [--slicing]
//              [--autocast] [--train]
// Inputs carry the names of Diffusers' arguments. With --autocast the weights stay float32 and operators run in the
// dtype given; with --train the UNet checkpoints activations and the gradient of the output's sum is added.
#include <cstdlib>
#include <iostream>
#include <set>

#include "core/atomic_file.h"
#include "core/errors.h"
#include "engine/autocast.h"
#include "io/safetensors.h"
#include "models/autoencoder_kl.h"
#include "models/clip_text_model.h"
#include "models/unet.h"

namespace lorikeet {
namespace {

struct Job {
  std::filesystem::path folder;
  SafetensorsFile inputs;
  torch::ScalarType dtype;
  std::set<std::string> switches;

  torch::Tensor input(const std::string& name) const {
    return inputs.contains(name) ? inputs.tensor(name).clone() : torch::Tensor();
  }
  torch::ScalarType weight_dtype() const { return switches.contains("--autocast") ? torch::kFloat : dtype; }
};

NamedTensors run_text_encoder(const Job& job, const nlohmann::json& config) {
  auto model = CLIPTextModel::from_config(config);
  model->load(*open_weights(job.folder, "model"), job.weight_dtype());
  return {{"last_hidden_state", model->forward(job.input("input_ids"), job.input("attention_mask"))}};
}

NamedTensors run_vae(const Job& job, const nlohmann::json& config) {
  auto model = AutoencoderKL::from_config(config);
  model->load(*open_weights(job.folder, "diffusion_pytorch_model"), job.weight_dtype());
  model->set_tiling(job.switches.contains("--tiling"));
  model->set_slicing(job.switches.contains("--slicing"));
  NamedTensors outputs;
  if (auto x = job.input("x"); x.defined()) {
    const auto latents = model->encode(x);
    auto generator = torch::make_generator<torch::CPUGeneratorImpl>(0);
    outputs = {{"mean", latents.mean}, {"std", latents.std}, {"sample", latents.sample(generator)}};
  }
  if (auto z = job.input("z"); z.defined()) outputs.emplace_back("decoded", model->decode(z));
  return outputs;
}

NamedTensors run_unet(const Job& job, const nlohmann::json& config) {
  auto model = UNet2DConditionModel::from_config(config);
  model->load(*open_weights(job.folder, "diffusion_pytorch_model"), job.weight_dtype());
  const bool train = job.switches.contains("--train");
  if (train) {
    model->train();
    model->enable_gradient_checkpointing();
  }
  auto text = job.input("encoder_hidden_states").set_requires_grad(train);
  auto output = model->forward(job.input("sample"), job.input("timestep"), text, job.input("class_labels"),
                               job.input("encoder_attention_mask"), job.input("timestep_cond"));
  NamedTensors outputs{{"sample", output.detach()}};
  if (train) {
    output.sum().backward();
    outputs.emplace_back("gradient", text.grad());
  }
  return outputs;
}

NamedTensors run(const Job& job) {
  const auto config = nlohmann::json::parse(read_file(job.folder / "config.json"));
  const auto name = config.value("_class_name", config.value("model_type", ""));
  torch::AutoGradMode grad(job.switches.contains("--train"));
  AutocastScope autocast({job.switches.contains("--autocast"), torch::kCPU, job.dtype});
  if (name == "UNet2DConditionModel") return run_unet(job, config);
  if (name == "AutoencoderKL") return run_vae(job, config);
  return run_text_encoder(job, config);
}

}  // namespace
}  // namespace lorikeet

int main(int argc, char** argv) {
  using namespace lorikeet;
  if (argc < 4) {
    std::cerr << "usage: model_tool MODEL_FOLDER INPUTS OUTPUTS [dtype] [switches]\n";
    return 2;
  }
  const std::string dtype = argc > 4 ? argv[4] : "float32";
  try {
    Job job{argv[1],
            SafetensorsFile::open(argv[2]),
            dtype == "bfloat16"  ? torch::kBFloat16
            : dtype == "float16" ? torch::kHalf
                                 : torch::kFloat,
            {}};
    for (int i = 5; i < argc; ++i) job.switches.insert(argv[i]);
    auto outputs = run(job);
    for (auto& [name, tensor] : outputs) tensor = tensor.contiguous();
    write_safetensors(argv[3], outputs);
  } catch (const Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}

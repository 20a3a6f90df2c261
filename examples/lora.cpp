// Several LoRAs in one model: lora_example MODEL STYLE SUBJECT PROMPT FOLDER
// Draws the prompt with the base, each LoRA, both at their weights, and both baked in, and saves one LoRA again.
#include <filesystem>
#include <iostream>

#include "core/errors.h"
#include "pipelines/stable_diffusion_pipeline.h"

int main(int argc, char** argv) try {
  if (argc != 6) throw lorikeet::UsageError("usage: lora_example MODEL STYLE SUBJECT PROMPT FOLDER");
  const std::string prompt = argv[4];
  const std::filesystem::path folder = argv[5];
  auto pipeline = lorikeet::StableDiffusionPipeline::from_pretrained(argv[1]);
  pipeline.to("auto");

  const auto draw = [&](const std::string& name, double scale = 1) {
    auto result = pipeline(
        prompt, {.num_inference_steps = 4, .guidance_scale = 3, .seed = 0, .cross_attention_kwargs = {.scale = scale}});
    result.images[0].save(folder / (name + ".png"));
  };
  draw("base");

  // A report tells what of a file has found its place; what has not is listed, never passed over.
  for (const auto& [name, file] : {std::pair{"style", argv[2]}, {"subject", argv[3]}}) {
    const auto report = pipeline.load_lora_weights(file, {.adapter_name = name});
    std::cout << name << " (" << report.dialect << "): " << report.unet_layers << " layers of the UNet, "
              << report.text_encoder_layers << " of the text encoder\n";
    for (const auto& part : report.unmatched) std::cout << "  no effect: " << part << "\n";
    draw(name);  // the LoRA loaded last is the active one
  }

  // Weights, by block where wanted; a call's scale works on top.
  pipeline.set_adapters({"style", "subject"}, {{.weight = 0.8, .blocks = {{"mid", 0.5}}}, {.weight = 1.0}});
  draw("both");
  draw("both-half", 0.5);

  pipeline.fuse_lora();  // no cost per step from here on
  draw("fused");
  pipeline.unfuse_lora();  // every byte of the base as it was

  pipeline.set_adapters({"subject"});
  pipeline.save_lora_weights(folder);
  pipeline.delete_adapters({"style"});
  pipeline.unload_lora_weights();
  draw("base-again");
} catch (const lorikeet::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}

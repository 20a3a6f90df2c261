// Draws a picture with a LoRA: generate_example MODEL LORA PROMPT OUTPUT.png
#include <iostream>

#include "core/errors.h"
#include "pipelines/stable_diffusion_pipeline.h"

int main(int argc, char** argv) try {
  if (argc != 5) throw lorikeet::UsageError("usage: generate_example MODEL LORA PROMPT OUTPUT.png");
  auto pipeline = lorikeet::StableDiffusionPipeline::from_pretrained(argv[1], {.dtype = "fp32"});
  pipeline.load_lora_weights(argv[2]);
  pipeline.to("auto");
  auto result = pipeline(
      argv[3], {.num_inference_steps = 25, .guidance_scale = 7.5, .seed = 0, .cross_attention_kwargs = {.scale = 0.5}});
  result.images[0].save(argv[4]);
} catch (const lorikeet::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}

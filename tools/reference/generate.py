"""Pictures drawn by Diffusers on the embedded base model, for tests/generate_test.py.

Made with torch 2.11.0 (CPU), diffusers 0.42.1, transformers 5.23.0, peft 0.21.2:

    python tools/reference/generate.py models/lorikeet-base tests/data/generate

Writes lora.safetensors (random factors for attention of UNet and text encoder, rank 2, Diffusers' final format) and
one PNG per scheduler: 20 steps, guidance 3, seed 0, scales 0, 0.5 and 1 from left to right.
"""

import os
import sys

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from PIL import Image
from safetensors.torch import save_file

SCHEDULERS = {
    "pndm": PNDMScheduler,
    "ddim": DDIMScheduler,
    "ddpm": DDPMScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_a": EulerAncestralDiscreteScheduler,
    "dpmsolver++": DPMSolverMultistepScheduler,
}
SCALES = (0.0, 0.5, 1.0)
PROMPT = "red apple"
NEGATIVE = "blue car"


def random_lora(pipe, rank=2, seed=7):
    """Factors just strong enough that scale 1 changes the picture and keeps it a picture."""
    rng = np.random.default_rng(seed)
    tensors = {}

    def add(prefix, module, down, up):
        inputs, outputs = module.in_features, module.out_features
        tensors[f"{prefix}{down}"] = torch.tensor(rng.normal(0, inputs**-0.5, (rank, inputs))).half()
        tensors[f"{prefix}{up}"] = torch.tensor(rng.normal(0, 0.45, (outputs, rank))).half()

    for name, module in pipe.unet.named_modules():
        if name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0")):
            add(f"unet.{name}", module, ".lora.down.weight", ".lora.up.weight")
    for name, module in pipe.text_encoder.named_modules():
        if name.endswith((".q_proj", ".k_proj", ".v_proj", ".out_proj")):
            name = name if name.startswith("text_model.") else f"text_model.{name}"
            add(f"text_encoder.{name}", module, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")
    return tensors


def main():
    model, folder = sys.argv[1], sys.argv[2]
    torch.set_num_threads(1)
    pipe = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    config = pipe.scheduler.config
    lora = os.path.join(folder, "lora.safetensors")
    save_file(random_lora(pipe), lora, {"format": "pt"})
    pipe.load_lora_weights(lora)
    for name, scheduler in SCHEDULERS.items():
        pipe.scheduler = scheduler.from_config(config)
        pictures = [
            pipe(
                PROMPT,
                negative_prompt=NEGATIVE,
                num_inference_steps=20,
                guidance_scale=3.0,
                generator=torch.Generator().manual_seed(0),
                cross_attention_kwargs={"scale": scale},
            ).images[0]
            for scale in SCALES
        ]
        strip = np.concatenate([np.asarray(picture) for picture in pictures], axis=1)
        Image.fromarray(strip).save(os.path.join(folder, f"{name.replace('+', 'p')}.png"))


if __name__ == "__main__":
    main()

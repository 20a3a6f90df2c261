"""Diffusers' load_lora_weights on a Stable Diffusion 1.5 that is in memory, for benchmarks/lora_load.cpp:

    .venv-parity/bin/python benchmarks/lora_load.py LORA [ROUNDS]

The model's weights are zeros; no number depends on them.
"""

import statistics
import sys
import time

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel


def main():
    lora, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    unet = UNet2DConditionModel(block_out_channels=(320, 640, 1280, 1280), layers_per_block=2, cross_attention_dim=768,
                                attention_head_dim=8)
    text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                        num_attention_heads=12))
    pipeline = StableDiffusionPipeline(vae=AutoencoderKL(), text_encoder=text, tokenizer=None, unet=unet,
                                       scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None,
                                       requires_safety_checker=False)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        pipeline.load_lora_weights(lora)
        times.append(1000 * (time.perf_counter() - start))
        pipeline.unload_lora_weights()
    print(f"first time {times[0]:.0f} ms; median {statistics.median(times):.0f} ms, {min(times):.0f} to {max(times):.0f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

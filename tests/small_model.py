"""A Stable Diffusion of the usual geometry, 512x512 pixels and latents of 64x64, that trains and draws in seconds.

It is the embedded model cut to an eighth of its channels (the VAE to a quarter), without the attention over all 64x64
places, and with one more halving in the VAE. What it draws is noise.
"""

import json
import re
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

BASE = Path(__file__).resolve().parents[1] / "models/lorikeet-base"
KEPT = (77, 6150)  # positions and words


def cut(tensor, times):
    return tensor[tuple(slice(size // times if size >= 24 and size not in KEPT else size) for size in tensor.shape)].copy()


def cut_unet(weights, config):
    config |= {"block_out_channels": [8, 12, 20], "cross_attention_dim": 16, "norm_num_groups": 4, "sample_size": 64,
               "attention_head_dim": 1}  # which means one head
    config["down_block_types"][0], config["up_block_types"][-1] = "DownBlock2D", "UpBlock2D"
    return {name: value for name, value in weights.items() if not re.match("(down_blocks.0|up_blocks.2).attentions", name)}


def cut_vae(weights, config):
    config |= {"block_out_channels": [6, 12, 24, 24], "norm_num_groups": 6, "sample_size": 512}
    for side in ("down", "up"):
        config[f"{side}_block_types"] += config[f"{side}_block_types"][:1]
    made = {}
    for name, value in weights.items():
        block = re.match(r"decoder.up_blocks.(\d)", name)
        made[name.replace(block[0], f"decoder.up_blocks.{int(block[1]) + 1}") if block else name] = value
        if name.startswith("decoder.up_blocks.0."):
            made[name] = value
        if name.startswith("encoder.mid_block.resnets.0."):
            made[name.replace("mid_block", "down_blocks.3")] = value
        if name.startswith("decoder.up_blocks.0.upsamplers."):
            made[name.replace("decoder.up_blocks.0.upsamplers", "encoder.down_blocks.2.downsamplers")] = value
    return made


def cut_text_encoder(weights, config):
    config |= {"hidden_size": 16, "intermediate_size": 64, "projection_dim": 16}
    return weights


def make(folder):
    """Writes it in Diffusers' layout; the folder."""
    shutil.copytree(BASE, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.md", "NOTICE"))
    for part, change in {"unet": cut_unet, "vae": cut_vae, "text_encoder": cut_text_encoder}.items():
        config = json.loads((BASE / part / "config.json").read_text())
        (file,) = (BASE / part).glob("*.safetensors")
        times = 4 if part == "vae" else 8
        weights = {name: cut(value, times) for name, value in change(load_file(file), config).items()}
        save_file(weights, folder / part / file.name, {"format": "pt"})
        (folder / part / "config.json").write_text(json.dumps(config, indent=1))
    return folder

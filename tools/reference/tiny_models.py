"""Small random Stable Diffusion folders in Diffusers' layout, the same for the same seed.

    python tools/reference/tiny_models.py OUTPUT_FOLDER [sd1|sd2 ...]

`sd1`: SD 1.x's shape of things: 1x1 convolution projections, 8 heads everywhere, quick_gelu, a PNDM config, epsilon;
text-encoder keys with `text_model.`. `sd2`: SD 2.1's: linear projections, heads per block, upcast attention, gelu,
v-prediction; keys without `text_model.`, pad token "!". Both draw 64x64 pixels (VAE factor 8, latents 8x8) and use the
tokenizer of models/lorikeet-base. Made with torch 2.11.0, diffusers 0.42.1, transformers 5.23.0.
"""

import json
import pathlib
import shutil
import sys

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

BASE = pathlib.Path(__file__).resolve().parents[2] / "models/lorikeet-base"
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}

KINDS = {
    "sd1": {
        "text": {"hidden_act": "quick_gelu", "num_hidden_layers": 2},
        "unet": {"attention_head_dim": 8, "use_linear_projection": False},
        "scheduler": lambda: PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False),
        "pad": "<|endoftext|>",
        "prefix": "text_model.",
    },
    "sd2": {
        "text": {"hidden_act": "gelu", "num_hidden_layers": 3},
        "unet": {"attention_head_dim": [2, 4], "use_linear_projection": True, "upcast_attention": True},
        "scheduler": lambda: DDIMScheduler(
            **BETAS, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False
        ),
        "pad": "!",
        "prefix": "",
    },
}


def enliven(module, gain):
    """Spreads a fresh module's weights, so that every layer has a say in the output."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(gain)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.05)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.05)


def make_text_encoder(kind, folder):
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=6150,
            hidden_size=32,
            intermediate_size=64,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=6148,
            eos_token_id=6149,
            pad_token_id=6149,
            projection_dim=32,
            **kind["text"],
        )
    )
    enliven(text_encoder, 3.0)
    text_encoder.save_pretrained(folder)
    # transformers 5 writes the keys without `text_model.`; the published SD 1.x files have it.
    weights = {
        kind["prefix"] + name.removeprefix("text_model."): value
        for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def make_vae(folder):
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8, 8, 16, 16],
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
    )
    enliven(vae, 1.3)
    vae.save_pretrained(folder)


def make_unet(kind, folder):
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=[16, 32],
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
        cross_attention_dim=32,
        **kind["unet"],
    )
    enliven(unet, 1.5)
    unet.save_pretrained(folder)


def make_tokenizer(kind, folder):
    shutil.copytree(BASE / "tokenizer", folder)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": kind["pad"]}, indent=1))


def make(name, folder, seed=0):
    """Writes the model folder `folder` of kind `name` and returns it."""
    kind, folder = KINDS[name], pathlib.Path(folder)
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    make_text_encoder(kind, folder / "text_encoder")
    make_vae(folder / "vae")
    make_unet(kind, folder / "unet")
    kind["scheduler"]().save_pretrained(folder / "scheduler")
    make_tokenizer(kind, folder / "tokenizer")
    index = json.loads((BASE / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", type(kind["scheduler"]()).__name__]
    (folder / "model_index.json").write_text(json.dumps(index, indent=1))
    return folder


if __name__ == "__main__":
    for wanted in sys.argv[2:] or KINDS:
        make(wanted, pathlib.Path(sys.argv[1]) / wanted)

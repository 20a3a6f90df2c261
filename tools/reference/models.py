"""Outputs of small random models, and the state-dict keys of the Stable Diffusion 1.5 and 2.1 shapes.

    python tools/reference/models.py        # writes tests/data/models.json, models.safetensors, keys_*.txt

Made with torch 2.11.0, diffusers 0.42.1, transformers 5.23.0 on a CPU in float32. Weights are not committed: `fill`
draws them from a seeded generator, and src/models/models_reference_test.cpp draws the same ones.
"""

import json
import pathlib

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

DATA = pathlib.Path(__file__).resolve().parents[2] / "tests/data"

UNET = {
    "_class_name": "UNet2DConditionModel",
    "block_out_channels": [16, 32],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 12,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "sample_size": 8,
}
THREE_BLOCKS = {
    "block_out_channels": [16, 32, 32],
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}
VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [8, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 4,
    "sample_size": 16,
}
CLIP = {
    "model_type": "clip_text_model",
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 12,
    "projection_dim": 8,
}

# Name: (config, inputs beyond the usual ones). A tuple is the shape of normal noise.
CASES = {
    "unet_sd1": (UNET, {}),
    "unet_sd2": (
        UNET
        | THREE_BLOCKS
        | {
            "use_linear_projection": True,
            "attention_head_dim": [1, 2, 4],
            "upcast_attention": True,
            "layers_per_block": [1, 2, 1],
            "transformer_layers_per_block": [1, 2, 1],
            "flip_sin_to_cos": False,
            "freq_shift": 1,
            "act_fn": "swish",
        },
        {"encoder_attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])},
    ),
    "unet_odd_size": (UNET | THREE_BLOCKS, {"sample": (1, 4, 9, 7), "timestep": torch.tensor(999)}),
    "unet_scale_shift_timestep_classes": (
        UNET
        | {
            "class_embed_type": "timestep",
            "class_embeddings_concat": True,
            "resnet_time_scale_shift": "scale_shift",
            "center_input_sample": True,
            "time_embedding_act_fn": "gelu",
            "timestep_post_act": "mish",
            "time_cond_proj_dim": 6,
            "time_embedding_dim": 48,
            "mid_block_scale_factor": 1.5,
            "in_channels": 3,
            "out_channels": 5,
        },
        {"sample": (2, 3, 8, 8), "class_labels": torch.tensor([3.0, 40.0]), "timestep_cond": (2, 6)},
    ),
    "unet_class_table": (
        UNET
        | {
            "num_class_embeds": 7,
            "only_cross_attention": [True, False],
            "downsample_padding": 0,
            "conv_in_kernel": 1,
            "conv_out_kernel": 5,
            "norm_eps": 1e-4,
        },
        {"class_labels": torch.tensor([6, 0])},
    ),
    "unet_no_mid_class_identity": (
        UNET | {"mid_block_type": None, "class_embed_type": "identity"},
        {"class_labels": (2, 64)},
    ),
    "unet_class_projection": (
        UNET | {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 5},
        {"class_labels": (2, 5)},
    ),
    "unet_class_simple_projection": (
        UNET | {"class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": 5},
        {"class_labels": (2, 5)},
    ),
    "vae": (VAE, {}),
    "vae_bare": (
        VAE
        | {
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "mid_block_add_attention": False,
            "layers_per_block": 2,
            "latent_channels": 3,
        },
        {"z": (1, 3, 4, 4)},
    ),
    "vae_tiled": (VAE, {"x": (2, 3, 24, 36), "z": (2, 4, 10, 13)}),
    "clip_quick_gelu": (CLIP, {}),
    "clip_gelu_masked": (
        CLIP | {"hidden_act": "gelu", "num_hidden_layers": 3, "layer_norm_eps": 1e-6},
        {"attention_mask": torch.tensor([[1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]])},
    ),
}


def make(config):
    """The model of a config, evaluating, with torch's own initial weights."""
    if "model_type" in config:
        return CLIPTextModel(CLIPTextConfig(**config)).eval()
    cls = AutoencoderKL if config["_class_name"] == "AutoencoderKL" else UNet2DConditionModel
    return cls.from_config(config).eval()


@torch.no_grad()
def fill(model, seed=0):
    """Draws all parameters, in the order of their names, so that every layer has a say in the output."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            parameter.copy_(noise / (parameter.numel() / parameter.shape[0]) ** 0.5)
        elif name.endswith("bias"):
            parameter.copy_(0.1 * noise)
        else:
            parameter.copy_(1 + 0.1 * noise)
    return model


def make_inputs(config, extra, seed=1):
    if "model_type" in config:
        wanted = {"input_ids": torch.tensor([[48, 7, 3, 49, 49, 49, 49], [48, 1, 2, 3, 4, 5, 49]])}
    elif config["_class_name"] == "AutoencoderKL":
        wanted = {"x": (2, 3, 8, 12), "z": (2, 4, 4, 6)}
    else:
        wanted = {
            "sample": (2, 4, 8, 8),
            "timestep": torch.tensor([1, 801]),
            "encoder_hidden_states": (2, 5, config["cross_attention_dim"]),
        }
    wanted |= extra
    if "sample" in wanted:
        wanted["encoder_hidden_states"] = (wanted["sample"][0], 5, config["cross_attention_dim"])
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(v, generator=generator) if isinstance(v, tuple) else v for k, v in wanted.items()}


def run(model, inputs, tiled=False):
    """The outputs that model_tool gives, by its names."""
    if isinstance(model, CLIPTextModel):
        return {"last_hidden_state": model(**inputs).last_hidden_state}
    if isinstance(model, UNet2DConditionModel):
        return {"sample": model(**inputs).sample}
    (model.enable_tiling if tiled else model.disable_tiling)()
    (model.enable_slicing if tiled else model.disable_slicing)()
    outputs = {}
    if "x" in inputs:
        latents = model.encode(inputs["x"]).latent_dist
        sample = latents.sample(torch.Generator().manual_seed(0))
        outputs = {"mean": latents.mean, "std": latents.std, "sample": sample}
    if "z" in inputs:
        outputs["decoded"] = model.decode(inputs["z"]).sample
    return outputs


SD15_UNET = {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768, "attention_head_dim": 8}
SD21_UNET = {
    "_class_name": "UNet2DConditionModel",
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
    "upcast_attention": True,
    "sample_size": 96,
}
SD_VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "sample_size": 512,
}
SD15_TEXT = {
    "model_type": "clip_text_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
SD21_TEXT = {
    "model_type": "clip_text_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 23,
    "hidden_act": "gelu",
    "projection_dim": 512,
}
SHAPES = {
    "sd15_unet": SD15_UNET,
    "sd21_unet": SD21_UNET,
    "sd_vae": SD_VAE,
    "sd15_text_encoder": SD15_TEXT,
    "sd21_text_encoder": SD21_TEXT,
}


def write_keys():
    """One line per tensor, in the order of registration: name and shape. Text encoders as on the Hub's SD 1.5 and 2.1,
    with the prefix that transformers 5 leaves out."""
    for name, config in SHAPES.items():
        with torch.device("meta"):
            model = make(config)
        prefix = "text_model." if "model_type" in config else ""
        lines = [f"{prefix}{k}\t[{'x'.join(map(str, v.shape))}]" for k, v in model.named_parameters()]
        (DATA / f"keys_{name}.txt").write_text("\n".join(lines) + "\n")


def base_model_chain():
    """The embedded base model: tokens to text to one UNet prediction to a picture; means where all would be large."""
    base = DATA.parents[1] / "models/lorikeet-base"
    text_encoder = CLIPTextModel.from_pretrained(base / "text_encoder", dtype=torch.float32)
    unet = UNet2DConditionModel.from_pretrained(base / "unet", torch_dtype=torch.float32)
    vae = AutoencoderKL.from_pretrained(base / "vae", torch_dtype=torch.float32)
    ids = torch.full((1, 77), 6149)
    ids[0, :5] = torch.tensor([6148, 320, 1001, 2002, 3003])
    sample = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(2))
    hidden = text_encoder(ids).last_hidden_state
    output = unet(sample, torch.tensor(500), hidden).sample
    return {
        "base/in/input_ids": ids,
        "base/in/sample": sample,
        "base/out/hidden_mean": hidden.mean(-1),
        "base/out/sample": output,
        "base/out/decoded_mean": vae.decode(output).sample.mean(1),
    }


def main():
    torch.set_grad_enabled(False)
    tensors = base_model_chain()
    for name, (config, extra) in CASES.items():
        inputs = make_inputs(config, extra)
        outputs = run(fill(make(config)), inputs, tiled=name.endswith("tiled"))
        tensors |= {f"{name}/in/{k}": v for k, v in inputs.items()}
        tensors |= {f"{name}/out/{k}": v.contiguous() for k, v in outputs.items()}
    DATA.mkdir(parents=True, exist_ok=True)
    save_file(tensors, DATA / "models.safetensors")
    configs = {name: config for name, (config, extra) in CASES.items()}
    configs["shapes"] = SHAPES
    (DATA / "models.json").write_text(json.dumps(configs, indent=1) + "\n")
    write_keys()


if __name__ == "__main__":
    main()

"""LoRAs of every kind, live in our program, beside Diffusers with the same change added to its weights by numpy."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from generate_lora_test import kinds
from PIL import Image
from safetensors.numpy import save_file

STEPS = 2
CLOSEST = 2  # of 255


def tucker(t, a, b):
    return np.einsum("ijkl,ip,jr->prkl", t, a, b)


def product(f):
    """strength * DW, from the words of kohya's and LyCORIS' keys."""
    rank = f["lora_down.weight"].shape[0] if "lora_down.weight" in f else 2
    scale = float(f.get("alpha", rank)) / rank
    if "lora_mid.weight" in f:
        return scale * np.einsum("mnkl,im,nj->ijkl", f["lora_mid.weight"], f["lora_up.weight"][:, :, 0, 0],
                                 f["lora_down.weight"][:, :, 0, 0])
    if "lora_down.weight" in f:
        up, down = f["lora_up.weight"], f["lora_down.weight"]
        return scale * np.tensordot(up.reshape(len(up), -1), down, 1)
    if "hada_t1" in f:
        return scale * np.multiply(*(tucker(f[f"hada_t{n}"], f[f"hada_w{n}_a"], f[f"hada_w{n}_b"]) for n in (1, 2)))
    if "hada_w1_a" in f:
        return scale * np.multiply(*(f[f"hada_w{n}_a"] @ f[f"hada_w{n}_b"] for n in (1, 2)))
    if "lokr_w1" in f:
        return np.kron(f["lokr_w1"], f["lokr_w2_a"] @ f["lokr_w2_b"])
    return f["diff"] if "diff" in f else f["w_norm"]


def changed(weight, f, scale):
    change = product(f).reshape(weight.shape)
    if "dora_scale" in f:
        lengths = f["dora_scale"]
        axes = tuple(a for a in range(weight.ndim) if lengths.shape[a] == 1)
        full = weight + change
        change = full * lengths / np.linalg.norm(full, axis=axes, keepdims=True) - weight
    return weight + scale * change


def theirs(model, file, scale):
    torch.set_num_threads(1)
    pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    layers = {}
    for key, value in file.items():
        layer, factor = key.split(".", 1)
        layers.setdefault(layer, {})[factor] = value.astype(np.float64)
    for name, module in pipeline.unet.named_modules():
        factors = layers.get("lora_unet_" + name.replace(".", "_"))
        if factors is None:
            continue
        weight = module.weight.data.double().numpy()
        module.weight.data = torch.from_numpy(changed(weight, factors, scale)).float()
        if "b_norm" in factors:
            module.bias.data += scale * torch.from_numpy(factors["b_norm"]).float()
    image = pipeline("red apple", num_inference_steps=STEPS, guidance_scale=7.5, height=32, width=32,
                     generator=torch.Generator().manual_seed(0)).images[0]
    return np.asarray(image, int)


@pytest.mark.parametrize("scale", [0.3, 1])
@pytest.mark.parametrize("kind", kinds())
def test_pictures_are_the_same(kind, scale, lorikeet, base_model, tmp_path):
    file = kinds()[kind]
    save_file(file, tmp_path / "x.safetensors")
    lorikeet("generate", f"--pretrained_model_name_or_path={base_model}", "--prompt=red apple", "--seed=0",
             f"--num_inference_steps={STEPS}", "--height=32", "--width=32", "--device=cpu", f"--lora={tmp_path}/x.safetensors",
             f"--scale={scale}", f"--output={tmp_path}/ours.png")
    ours = np.asarray(Image.open(tmp_path / "ours.png").convert("RGB"), int)
    assert np.abs(ours - theirs(base_model, file, scale)).max() <= CLOSEST
    assert np.abs(ours - theirs(base_model, {}, 1)).max() > CLOSEST

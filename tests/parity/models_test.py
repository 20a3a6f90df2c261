"""CLIPTextModel, AutoencoderKL and UNet2DConditionModel beside transformers and Diffusers, on the same random weights.

The quick part runs the small models of tools/reference/models.py with other weights and inputs than the committed ones;
the full part runs the shapes of Stable Diffusion 1.5 and 2.1.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import models
import pytest
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
TOOL = os.environ.get("LORIKEET_MODEL_TOOL", str(ROOT / "build/model_tool"))
TOLERANCE = 1e-5


def relative(a, b):
    """max|a-b| / max|b|"""
    assert a.shape == b.shape
    return ((a.float() - b.float()).abs().max() / b.float().abs().max()).item()


def save_model(model, config, folder):
    """As from_pretrained's folders look, one file, no index."""
    stem = "model" if "model_type" in config else "diffusion_pytorch_model"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / f"{stem}.safetensors")
    return folder


def ours(folder, inputs, *arguments):
    save_file({k: v.contiguous() for k, v in inputs.items()}, folder / "inputs.safetensors")
    command = [TOOL, folder, folder / "inputs.safetensors", folder / "outputs.safetensors", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "outputs.safetensors")


def compare(theirs, outputs, tolerance=TOLERANCE):
    assert set(theirs) == set(outputs)
    for name, value in theirs.items():
        assert outputs[name].dtype == value.dtype, name
        assert relative(outputs[name], value) <= tolerance, name


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("case", list(models.CASES))
def test_small_models(case, seed, tmp_path):
    config, extra = models.CASES[case]
    model = models.fill(models.make(config), seed)
    inputs = models.make_inputs(config, extra, seed + 100)
    switches = ["float32", "--tiling", "--slicing"] if case.endswith("tiled") else []
    outputs = ours(save_model(model, config, tmp_path), inputs, *switches)
    with torch.no_grad():
        compare(models.run(model, inputs, tiled=case.endswith("tiled")), outputs)


@pytest.mark.parametrize("case", ["unet_sd1", "unet_sd2", "vae", "clip_quick_gelu", "clip_gelu_masked"])
@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16(case, autocast, tmp_path):
    """Weights in bf16, and fp32 weights under autocast: operator by operator the same casts."""
    config, extra = models.CASES[case]
    model = models.fill(models.make(config), 21)
    inputs = models.make_inputs(config, extra, 121)
    if not autocast:
        model = model.to(torch.bfloat16)
        inputs = {k: v.bfloat16() if v.dtype == torch.float32 else v for k, v in inputs.items()}
    outputs = ours(save_model(model, config, tmp_path), inputs, "bfloat16", *(["--autocast"] if autocast else []))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        compare(models.run(model, inputs), outputs)


@pytest.mark.parametrize("case", ["unet_sd1", "unet_sd2"])
def test_gradient_under_checkpointing(case, tmp_path):
    config, extra = models.CASES[case]
    model = models.fill(models.make(config), 31).requires_grad_(False).train()
    model.enable_gradient_checkpointing()
    inputs = models.make_inputs(config, extra, 131)
    outputs = ours(save_model(model, config, tmp_path), inputs, "float32", "--train")
    inputs["encoder_hidden_states"].requires_grad_(True)
    sample = model(**inputs).sample
    sample.sum().backward()
    compare({"sample": sample.detach(), "gradient": inputs["encoder_hidden_states"].grad}, outputs)


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_embedded_base_model(part, tmp_path, base_model):
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    generator = torch.Generator().manual_seed(41)
    cls = {"text_encoder": CLIPTextModel, "unet": UNet2DConditionModel, "vae": AutoencoderKL}[part]
    dtype = {"dtype" if part == "text_encoder" else "torch_dtype": torch.float32}
    model = cls.from_pretrained(base_model / part, **dtype).eval()
    if part == "text_encoder":
        inputs = {"input_ids": torch.randint(0, 6148, (2, 77), generator=generator)}
    elif part == "unet":
        text = torch.randn((2, 77, 128), generator=generator)
        sample = torch.randn((2, 4, 18, 17), generator=generator)
        inputs = {"sample": sample, "timestep": torch.tensor([3, 900]), "encoder_hidden_states": text}
    else:
        x, z = torch.randn((1, 3, 72, 64), generator=generator), torch.randn((1, 4, 16, 18), generator=generator)
        inputs = {"x": x, "z": z}
    (tmp_path / "config.json").write_text((base_model / part / "config.json").read_text())
    for file in (base_model / part).glob("*.safetensors"):
        (tmp_path / file.name).symlink_to(file)
    with torch.no_grad():
        compare(models.run(model, inputs), ours(tmp_path, inputs))


FULL_INPUTS = {
    "unet": lambda g, config: {
        "sample": torch.randn((1, 4, 64, 64), generator=g),
        "timestep": torch.tensor([451]),
        "encoder_hidden_states": torch.randn((1, 77, config["cross_attention_dim"]), generator=g),
    },
    "vae": lambda g, config: {
        "x": torch.randn((1, 3, 256, 192), generator=g),
        "z": torch.randn((1, 4, 24, 32), generator=g),
    },
    "text": lambda g, config: {"input_ids": torch.randint(0, 49408, (2, 77), generator=g)},
}


@pytest.mark.full
@pytest.mark.parametrize("shape", list(models.SHAPES))
def test_stable_diffusion_shapes(shape, tmp_path):
    config = models.SHAPES[shape]
    kind = shape.split("_")[1]
    model = models.fill(models.make(config), 51)
    inputs = FULL_INPUTS[kind](torch.Generator().manual_seed(151), config)
    with torch.no_grad():
        theirs = models.run(model, inputs)
    save_model(model, config, tmp_path)
    del model  # one set of weights in memory at a time
    try:
        compare(theirs, ours(tmp_path, inputs))
    finally:
        shutil.rmtree(tmp_path)  # pytest would keep gigabytes

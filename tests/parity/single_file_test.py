"""Single files of the original layout beside StableDiffusionPipeline.from_single_file, read and written."""

import numpy as np
import pytest
import single_file_support as support
import torch
from diffusers import StableDiffusionPipeline
from generate_test import random_lora
from PIL import Image
from safetensors.torch import load_file, save_file

CLOSEST = 2  # of 255
PARTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def case(request, tiny_model, tmp_path_factory):
    """(model folder, the same as a single file, as .ckpt, a LoRA for it)."""
    folder, made = tiny_model(request.param), tmp_path_factory.mktemp("single")
    tensors = {key: value.contiguous() for key, value in support.single_file_tensors(folder, load_file, torch.cat).items()}
    if request.param == "sd2":  # one more layer, which Stable Diffusion 2 does not use, and CLIP's projection
        last = {k.replace("resblocks.2.", "resblocks.3."): v + 1 for k, v in tensors.items() if "resblocks.2." in k}
        projection = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
        tensors |= {**last, "cond_stage_model.model.text_projection": projection}
    save_file(tensors, made / "model.safetensors")
    torch.save({"state_dict": tensors, "global_step": 5, "epoch": 1}, made / "model.ckpt")
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    random_lora(pipeline, made / "lora.safetensors")
    return folder, made / "model.safetensors", made / "model.ckpt", made / "lora.safetensors"


def peer_tensors(path, folder):
    pipeline = StableDiffusionPipeline.from_single_file(str(path), config=str(folder), dtype=torch.float32)
    return pipeline, {part: without_prefix(getattr(pipeline, part).state_dict()) for part in PARTS}


def without_prefix(tensors):
    return {k.removeprefix("text_model."): v for k, v in tensors.items() if not k.endswith("position_ids")}


def folder_tensors(folder):
    return {part: without_prefix(load_file(folder / part / f"{stem}.safetensors")) for part, stem in PARTS.items()}


def assert_same(ours, theirs):
    for part in PARTS:
        assert ours[part].keys() == theirs[part].keys(), part
        for key, value in theirs[part].items():
            assert ours[part][key].dtype == value.dtype and torch.equal(ours[part][key], value), key


@pytest.mark.parametrize("kind", [1, 2], ids=["safetensors", "ckpt"])
def test_every_tensor_is_the_peers_bit_for_bit(case, lorikeet, tmp_path, kind):
    folder, file, lora = case[0], case[kind], case[3]
    _, theirs = peer_tensors(file, folder)
    lorikeet("lora", "fuse", f"--pretrained_model_name_or_path={file}", f"--single_file_config={folder}", f"--lora={lora}",
             "--scale=0", f"--output={tmp_path / 'model'}")  # fmt: skip
    assert_same(folder_tensors(tmp_path / "model"), theirs)


def test_the_peer_reads_what_is_written(case, lorikeet, tmp_path):
    folder, _, _, lora = case
    outputs = [tmp_path / "fused", tmp_path / "fused.safetensors"]
    for output in outputs:
        lorikeet("lora", "fuse", f"--pretrained_model_name_or_path={folder}", f"--lora={lora}", f"--output={output}")
    _, theirs = peer_tensors(outputs[1], folder)
    assert_same(folder_tensors(outputs[0]), theirs)


def test_pictures_equal_the_peers(case, lorikeet, tmp_path):
    folder, file = case[:2]
    pipeline, _ = peer_tensors(file, folder)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline("red apple", num_inference_steps=8, generator=torch.Generator().manual_seed(0)).images[0]
    lorikeet("generate", f"--pretrained_model_name_or_path={file}", f"--single_file_config={folder}", "--prompt=red apple",
             "--num_inference_steps=8", "--seed=0", "--device=cpu", f"--output={tmp_path / 'p.png'}")  # fmt: skip
    ours = np.asarray(Image.open(tmp_path / "p.png").convert("RGB"), int)
    assert np.abs(ours - np.asarray(theirs, int)).max() <= CLOSEST

"""The LoRA file we save, read by Diffusers with nothing missing or left over; and Diffusers' file read by us."""

import logging

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from dreambooth_scenarios import TRACES, Workspace
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("models"))


@pytest.fixture
def pipeline(base_model):
    torch.set_num_threads(1)
    pipeline = StableDiffusionPipeline.from_pretrained(base_model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def in_diffusers_words(unet, text_encoder):
    """PEFT's own values under the names of Diffusers' final file."""
    named = {}
    for name, value in get_peft_model_state_dict(unet).items():
        named["unet." + name.replace("lora_A", "lora.down").replace("lora_B", "lora.up")] = value
    if getattr(text_encoder, "peft_config", None):
        for name, value in get_peft_model_state_dict(text_encoder).items():
            name = name.removeprefix("text_model.")
            name = name.replace("lora_A", "lora_linear_layer.down").replace("lora_B", "lora_linear_layer.up")
            named["text_encoder.text_model." + name] = value
    return named


@pytest.mark.parametrize("scenario", ["batch_1", "text_encoder"])
def test_our_file_loads_in_diffusers_whole(scenario, workspace, pipeline, lorikeet, tmp_path, caplog):
    lorikeet("train", "dreambooth", *workspace.command(scenario, tmp_path / "ours"), "--device=cpu")
    file = tmp_path / "ours/pytorch_lora_weights.safetensors"
    logging.getLogger("diffusers").propagate = True
    with caplog.at_level(logging.WARNING):
        pipeline.load_lora_weights(file, adapter_name="default")
    said = [record.getMessage() for record in caplog.records]
    assert [words for words in said if "unexpected keys" in words or "missing keys" in words] == []
    ours, theirs = load_file(file), in_diffusers_words(pipeline.unet, pipeline.text_encoder)
    assert sorted(ours) == sorted(theirs)
    for name, value in ours.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, theirs[name]), name


def test_the_file_holds_exactly_the_keys_of_the_contract(workspace, lorikeet, tmp_path):
    lorikeet("train", "dreambooth", *workspace.command("text_encoder", tmp_path / "ours"), "--device=cpu")
    weights = load_file(tmp_path / "ours/pytorch_lora_weights.safetensors")
    written = [f"{name} {'x'.join(map(str, weights[name].shape))}" for name in sorted(weights)]
    assert written == (TRACES / "lora_keys.txt").read_text().splitlines()


@pytest.mark.parametrize("with_text_encoder", [False, True])
def test_diffusers_file_draws_the_same_with_us(with_text_encoder, pipeline, base_model, lorikeet, tmp_path):
    """A factor that we failed to place would change the picture: each is strong enough to be seen."""
    torch.manual_seed(1)
    pipeline.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False,
                                         target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    layers = {"unet_lora_layers": get_peft_model_state_dict(pipeline.unet)}
    if with_text_encoder:
        pipeline.text_encoder.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False,
                                                     target_modules=["q_proj", "k_proj", "v_proj", "out_proj"]))
        layers["text_encoder_lora_layers"] = get_peft_model_state_dict(pipeline.text_encoder)
    StableDiffusionPipeline.save_lora_weights(tmp_path / "theirs", **layers)
    theirs = pipeline("red apple", num_inference_steps=10, generator=torch.Generator().manual_seed(0)).images[0]
    lorikeet("generate", f"--pretrained_model_name_or_path={base_model}", f"--lora={tmp_path / 'theirs'}", "--scale=1",
             "--prompt=red apple", "--seed=0", "--num_inference_steps=10", "--device=cpu", f"--output={tmp_path / 'p.png'}")
    difference = np.abs(np.asarray(Image.open(tmp_path / "p.png"), int) - np.asarray(theirs, int))
    assert difference.max() <= 2

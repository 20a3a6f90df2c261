"""`lorikeet train text-to-image` beside our reference trainer (tools/reference/text_to_image_trainer.py), live, on tiny models."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from text_to_image_scenarios import SCENARIOS, Workspace
from text_to_image_trainer import Trainer, parse
from training_scenarios import diffusers_spelling, trained_half

LOSS, WEIGHTS = 1e-5, 1e-3
QUICK = {"crop_and_flip", "accumulation", "snr_gamma", "noise_offset", "caption_lists", "max_train_samples_lists", "everything", "dora", "pissa"}


def cases():
    for name in SCENARIOS:
        for kind in ("sd1", "sd2"):
            quick = name in QUICK and (kind == "sd1" or name == "snr_gamma")
            yield pytest.param(name, kind, id=f"{name}-{kind}", marks=() if quick else pytest.mark.full)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("models"))


def reference(flags):
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    trainer = Trainer(parse(flags))
    log = trainer.train()
    trainer.save()
    return log["steps"]


def logged(output_dir):
    lines = (Path(output_dir) / "logs/text2image-fine-tune.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "train_loss" in record]


def weights_of(output_dir):
    weights = load_file(Path(output_dir) / "pytorch_lora_weights.safetensors")
    named = {diffusers_spelling(name): value.double() for name, value in weights.items()}
    return {name: named[name] for name in sorted(named)}


def up_row(weights):
    return torch.cat([value.flatten() for name, value in weights.items() if ".up.weight" in name])


@pytest.mark.parametrize("name, kind", list(cases()))
def test_losses_and_weights_are_equal(name, kind, workspace, tiny_model, lorikeet, tmp_path):
    places = {"base": tiny_model(kind), "base_v": tiny_model(kind)}
    theirs = reference(workspace.command(name, tmp_path / "theirs", places))
    lorikeet("train", "text-to-image", *workspace.our_command(name, tmp_path / "ours", places), "--device=cpu")
    ours = logged(tmp_path / "ours")
    assert [step["step"] for step in ours] == [step["step"] for step in theirs]
    # bf16 too: both run on this machine's kernels, so its rounding is the same on both sides.
    np.testing.assert_allclose(
        [step["train_loss"] for step in ours], [step["train_loss"] for step in theirs], rtol=LOSS
    )
    our, their = weights_of(tmp_path / "ours"), weights_of(tmp_path / "theirs")
    if name == "pissa":
        our = {key: trained_half(key, value) for key, value in our.items()}
    assert our.keys() == their.keys()
    assert float((up_row(our) - up_row(their)).norm() / up_row(their).norm()) <= WEIGHTS

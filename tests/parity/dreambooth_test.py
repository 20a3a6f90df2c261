"""`lorikeet train dreambooth` beside our reference trainer (tools/reference/dreambooth_trainer.py), live, on tiny models."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from dreambooth_scenarios import SCENARIOS, Workspace
from dreambooth_trainer import Trainer, parse
from training_scenarios import diffusers_spelling, trained_half
from PIL import Image
from safetensors.torch import load_file

LOSS, WEIGHTS = 1e-5, 1e-3
QUICK = {"batch_1", "accumulation", "random_crop", "prior_preservation", "text_encoder", "dropout", "epochs", "dora", "dora_convolutions", "pissa"}


def cases():
    for name in SCENARIOS:
        if name == "class_generation":
            continue
        for kind in ("sd1", "sd2"):
            quick = name in QUICK and (kind == "sd1" or name == "batch_1")
            yield pytest.param(name, kind, id=f"{name}-{kind}", marks=() if quick else pytest.mark.full)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("models"))


def reference(flags):
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    trainer = Trainer(parse(flags))
    steps = trainer.train()
    trainer.save()
    return steps


def logged(output_dir):
    lines = (Path(output_dir) / "logs/dreambooth-lora.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "loss" in record]


def weights_of(output_dir):
    weights = load_file(Path(output_dir) / "pytorch_lora_weights.safetensors")
    named = {diffusers_spelling(name).replace("text_encoder.text_model.", "text_encoder."): value for name, value in weights.items()}
    return {name: named[name].double() for name in sorted(named)}


def up_row(weights):
    return torch.cat([value.flatten() for name, value in weights.items() if ".up.weight" in name])


def both(name, kind, workspace, tiny_model, lorikeet, tmp_path):
    places = {"base": tiny_model(kind), "base_v": tiny_model(kind)}
    theirs = reference(workspace.command(name, tmp_path / "theirs", places))
    more = ["--device=cpu", *(["--compat_bugs"] if "bf16" in name else [])]
    lorikeet("train", "dreambooth", *workspace.command(name, tmp_path / "ours", places), *more)
    return logged(tmp_path / "ours"), theirs


@pytest.mark.parametrize("name, kind", cases())
def test_losses_rates_and_weights_are_equal(name, kind, workspace, tiny_model, lorikeet, tmp_path):
    ours, theirs = both(name, kind, workspace, tiny_model, lorikeet, tmp_path)
    assert [step["step"] for step in ours] == [step["step"] for step in theirs]
    np.testing.assert_allclose([step["lr"] for step in ours], [step["lr"] for step in theirs], rtol=1e-12, atol=1e-18)
    # bf16 too: both run on this machine's kernels, so its rounding is the same on both sides.
    np.testing.assert_allclose([step["loss"] for step in ours], [step["loss"] for step in theirs], rtol=LOSS)
    our, their = weights_of(tmp_path / "ours"), weights_of(tmp_path / "theirs")
    if name == "pissa":
        our = {key: trained_half(key, value) for key, value in our.items()}
    assert our.keys() == their.keys()
    assert float((up_row(our) - up_row(their)).norm() / up_row(their).norm()) <= WEIGHTS


@pytest.mark.full
@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_generated_class_pictures_are_equal(kind, workspace, tiny_model, lorikeet, tmp_path):
    both("class_generation", kind, workspace, tiny_model, lorikeet, tmp_path)
    ours = sorted((tmp_path / "ours-classes").iterdir())
    theirs = sorted((tmp_path / "theirs-classes").iterdir())
    assert len(ours) == len(theirs) == 3
    for our, their in zip(ours, theirs, strict=True):
        if our.name != their.name:  # the name carries the SHA-1 of the pixels before JPEG
            difference = np.abs(np.asarray(Image.open(our), int) - np.asarray(Image.open(their), int))
            assert difference.mean() < 0.1, f"{our.name}: {difference.mean()}"

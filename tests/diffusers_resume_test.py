"""A run that Diffusers' own script began, gone on with here (tests/data/diffusers_resume/trace.json tells how it was made)."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
DATA = ROOT / "tests/data/diffusers_resume"
TRACE = json.loads((DATA / "trace.json").read_text())
LORA = "pytorch_lora_weights.safetensors"


@pytest.fixture
def begun(tmp_path):
    """An output folder with the script's checkpoint in it, to be damaged."""
    shutil.copytree(DATA / "checkpoint-3", tmp_path / "out/checkpoint-3")
    return tmp_path / "out"


def resume(output, *more):
    return subprocess.run(
        [PROGRAM, "train", "text-to-image", f"--pretrained_model_name_or_path={ROOT / 'models/lorikeet-base'}",
         f"--train_data_dir={ROOT / TRACE['pictures']}", *TRACE["flags"], f"--output_dir={output}", "--device=cpu",
         "--report_to=jsonl", "--resume_from_checkpoint=latest", *more],
        capture_output=True, text=True,
    )  # fmt: skip


def test_it_goes_on_as_the_script_itself_does(begun):
    done = resume(begun)
    assert done.returncode == 0, done.stderr
    assert "the epoch begins anew" in done.stderr
    lines = map(json.loads, (begun / "logs/text2image-fine-tune.jsonl").read_text().splitlines())
    ours = [(line["step"], line["train_loss"]) for line in lines if "train_loss" in line]
    assert [step for step, _ in ours] == [step["step"] for step in TRACE["after"]]
    np.testing.assert_allclose([loss for _, loss in ours], [step["train_loss"] for step in TRACE["after"]], rtol=1e-5)
    weights = load_file(begun / LORA)
    up = np.concatenate([weights[name].ravel() for name in sorted(weights) if ".up.weight" in name]).astype(np.float64)
    script = load_file(DATA / "final.safetensors")["up"].astype(np.float64)
    assert np.linalg.norm(up - script) <= 1e-3 * np.linalg.norm(script)


@pytest.mark.parametrize("flags, word", [
    (["--rank=2"], "down"), (["--optimizer=lion"], "--optimizer"), (["--use_ema"], "--use_ema"),
    (["--lora_alpha=3"], "--lora_alpha"), (["--use_rslora"], "--use_rslora"),
    (["--target_modules", "to_k"], "factors"), (["--train_text_encoder"], "factors"),
    (["--algo=dora"], "--algo"), (["--algo=pissa"], "--algo"),
])  # fmt: skip
def test_what_the_script_cannot_have_begun_is_refused(begun, flags, word):
    done = resume(begun, *flags)
    assert done.returncode in (1, 2)
    assert word in done.stderr and "hint:" in done.stderr, done.stderr
    assert not (begun / LORA).exists()


@pytest.mark.parametrize("name", ["optimizer.bin", "scheduler.bin", "random_states_0.pkl", LORA])
def test_a_damaged_file_of_it_is_named(begun, name):
    file = begun / "checkpoint-3" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    done = resume(begun)
    assert done.returncode == 1
    assert name in done.stderr, done.stderr
    assert not (begun / LORA).exists()


def test_a_folder_that_lacks_a_file_is_no_checkpoint(begun):
    (begun / "checkpoint-3/scheduler.bin").unlink()
    done = resume(begun)
    assert done.returncode == 0
    assert "new run starts" in done.stderr

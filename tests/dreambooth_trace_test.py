"""`lorikeet train dreambooth` against the committed traces of Diffusers' own script (tests/data/dreambooth_traces)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import deserialize
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/reference"))
from dreambooth_scenarios import SCENARIOS, TRACES, Workspace  # noqa: E402

PROGRAM = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
LOSS, WEIGHTS = 1e-5, 1e-3
# bf16 keeps 8 bits, and the script trains the LoRA itself in bf16: the reference trainer repeated with AVX2 kernels is off
# from its own trace by 4e-3 in a loss and 3e-2 in the up matrices (docs/parity.md).
BF16_LOSS, BF16_WEIGHTS = 1e-2, 5e-2


def train(name, workspace, output_dir, more=()):
    flags = [*workspace.command(name, output_dir), "--device=cpu", *more]
    if "bf16" in name:
        flags.append("--compat_bugs")
    done = subprocess.run([PROGRAM, "train", "dreambooth", *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return logged(output_dir), weights_of(output_dir)


def logged(output_dir):
    """The {step, loss, lr} of every micro-step."""
    lines = (Path(output_dir) / "logs/dreambooth-lora.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "loss" in record]


def weights_of(output_dir):
    """The saved matrices, in the traces' order."""
    weights = dict(deserialize((Path(output_dir) / "pytorch_lora_weights.safetensors").read_bytes()))
    return {name: values_of(weights[name]) for name in sorted(weights)}


def values_of(tensor):
    """numpy has no bfloat16: its 16 bits are the upper half of a float32."""
    if tensor["dtype"] == "BF16":
        values = (np.frombuffer(tensor["data"], np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        assert tensor["dtype"] == "F32"
        values = np.frombuffer(tensor["data"], np.float32)
    return values.reshape(tensor["shape"]).astype(np.float64)


def expected_names(with_text_encoder):
    """The contract of keys written, rank 1: each line a name and a shape."""
    lines = (TRACES / "lora_keys.txt").read_text().splitlines()
    return {line.split()[0] for line in lines if with_text_encoder or line.startswith("unet.")}


def row(weights, which):
    return np.concatenate([value.ravel() for name, value in weights.items() if f".{which}.weight" in name])


def norms(weights, which):
    return [np.linalg.norm(value) for name, value in weights.items() if f".{which}.weight" in name]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("models"))


def trace(name):
    return json.loads((TRACES / f"{name}.json").read_text())


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "class_generation"])
def test_every_loss_rate_and_weight_equals_the_scripts(name, workspace, tmp_path):
    expected = trace(name)
    steps, weights = train(name, workspace, tmp_path / "out")
    script = expected["script"]
    assert [step["step"] for step in steps] == [step["step"] for step in script]
    np.testing.assert_allclose([step["lr"] for step in steps], [step["lr"] for step in script], rtol=1e-12, atol=1e-18)
    loss, closeness = (BF16_LOSS, BF16_WEIGHTS) if "bf16" in name else (LOSS, WEIGHTS)
    np.testing.assert_allclose([step["loss"] for step in steps], [step["loss"] for step in script], rtol=loss)
    assert set(weights) == expected_names("--train_text_encoder" in expected["flags"])
    reference = load_file(TRACES / f"{name}.safetensors")["up"].astype(np.float64)
    assert np.linalg.norm(row(weights, "up") - reference) <= closeness * np.linalg.norm(reference)
    np.testing.assert_allclose(norms(weights, "down"), expected["down_norms"], rtol=closeness)
    if "bf16" in name:
        # The tolerance alone cannot tell a LoRA kept in fp32 from one kept in bf16; its lower 16 bits can.
        bits = np.concatenate([value.ravel() for value in weights.values()]).astype(np.float32).view(np.uint32)
        assert not np.any(bits & 0xFFFF)


@pytest.mark.parametrize("plain, checkpointed", [("batch_1", "gradient_checkpointing"), ("dropout", "dropout_checkpointing")])
def test_gradient_checkpointing_changes_no_bit(plain, checkpointed, workspace, tmp_path):
    without = train(plain, workspace, tmp_path / "plain")
    with_it = train(checkpointed, workspace, tmp_path / "checkpointed")
    assert [step["loss"] for step in without[0]] == [step["loss"] for step in with_it[0]]
    for name, value in without[1].items():
        np.testing.assert_array_equal(value, with_it[1][name], err_msg=name)


def test_the_file_holds_the_keys_and_shapes_of_the_contract(workspace, tmp_path):
    _, weights = train("text_encoder", workspace, tmp_path / "out")
    written = [f"{name} {'x'.join(map(str, value.shape))}" for name, value in weights.items()]
    assert written == (TRACES / "lora_keys.txt").read_text().splitlines()


def test_class_pictures_are_drawn_as_the_script_draws_them(workspace, tmp_path):
    expected = trace("class_generation")
    steps, _ = train("class_generation", workspace, tmp_path / "out")
    made = sorted((tmp_path / "out-classes").iterdir())
    assert [path.name.split("-")[0] for path in made] == [stem.split("-")[0] for stem in expected["class_pictures"]]
    for i, path in enumerate(made):
        # The name carries the SHA-1 of the pixels before JPEG. Where it differs, some pixel rounded the other way.
        if path.stem != expected["class_pictures"][i]:
            ours, theirs = Image.open(path), Image.open(TRACES / f"class_picture_{i}.png")
            theirs.save(tmp_path / "theirs.jpg")
            difference = np.abs(np.asarray(ours, int) - np.asarray(Image.open(tmp_path / "theirs.jpg"), int))
            assert difference.mean() < 0.1, f"{path.name}: {difference.mean()}"
    np.testing.assert_allclose(
        [step["loss"] for step in steps], [step["loss"] for step in expected["script"]], rtol=1e-3
    )

"""`lorikeet train dreambooth` against the committed traces of Diffusers' own script (tests/data/dreambooth_traces)."""

import numpy as np
import pytest
from PIL import Image
from trace_support import assert_weights, logged, read_trace, run_training, shapes, tolerances, weights_of

from dreambooth_scenarios import SCENARIOS, TRACES, Workspace  # isort: skip (trace_support makes it importable)


def train(name, workspace, output_dir):
    flags = workspace.command(name, output_dir)
    if "bf16" in name:
        flags.append("--compat_bugs")
    run_training("dreambooth", flags)
    return logged(output_dir, "dreambooth-lora", "loss"), weights_of(output_dir)


def expected_names(with_text_encoder):
    """The contract of keys written, rank 1: each line a name and a shape."""
    lines = (TRACES / "lora_keys.txt").read_text().splitlines()
    return {line.split()[0] for line in lines if with_text_encoder or line.startswith("unet.")}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "class_generation"])
def test_every_loss_rate_and_weight_equals_the_scripts(name, workspace, tmp_path):
    expected = read_trace(TRACES, name)
    steps, weights = train(name, workspace, tmp_path / "out")
    script = expected["script"]
    assert [step["step"] for step in steps] == [step["step"] for step in script]
    np.testing.assert_allclose([step["lr"] for step in steps], [step["lr"] for step in script], rtol=1e-12, atol=1e-18)
    loss, _ = tolerances(name)
    np.testing.assert_allclose([step["loss"] for step in steps], [step["loss"] for step in script], rtol=loss)
    if not any(flag.startswith("--algo=dora") for flag in expected["flags"]):
        assert set(weights) == expected_names("--train_text_encoder" in expected["flags"])
    assert_weights(weights, expected, TRACES)


@pytest.mark.parametrize("plain, checkpointed", [("batch_1", "gradient_checkpointing"), ("dropout", "dropout_checkpointing")])
def test_gradient_checkpointing_changes_no_bit(plain, checkpointed, workspace, tmp_path):
    without = train(plain, workspace, tmp_path / "plain")
    with_it = train(checkpointed, workspace, tmp_path / "checkpointed")
    assert [step["loss"] for step in without[0]] == [step["loss"] for step in with_it[0]]
    for name, value in without[1].items():
        np.testing.assert_array_equal(value, with_it[1][name], err_msg=name)


def test_the_file_holds_the_keys_and_shapes_of_the_contract(workspace, tmp_path):
    _, weights = train("text_encoder", workspace, tmp_path / "out")
    assert shapes(weights) == (TRACES / "lora_keys.txt").read_text().splitlines()


def test_class_pictures_are_drawn_as_the_script_draws_them(workspace, tmp_path):
    expected = read_trace(TRACES, "class_generation")
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

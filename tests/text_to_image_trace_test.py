"""`lorikeet train text-to-image` against the committed traces of Diffusers' own script (tests/data/text_to_image_traces)."""

import numpy as np
import pytest
from trace_support import assert_weights, logged, read_trace, run_training, shapes, tolerances, weights_of

from text_to_image_scenarios import SCENARIOS, TRACES, Workspace  # isort: skip (trace_support makes it importable)


def train(name, workspace, output_dir):
    run_training("text-to-image", workspace.our_command(name, output_dir))
    return logged(output_dir, "text2image-fine-tune", "train_loss"), weights_of(output_dir)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_loss_and_weight_equals_the_scripts(name, workspace, tmp_path):
    expected = read_trace(TRACES, name)
    steps, weights = train(name, workspace, tmp_path / "out")
    script = expected["script"]["steps"]
    assert [step["step"] for step in steps] == [step["step"] for step in script]
    loss, _ = tolerances(name)
    np.testing.assert_allclose([step["train_loss"] for step in steps], [step["train_loss"] for step in script], rtol=loss)
    assert_weights(weights, expected, TRACES)


def test_gradient_checkpointing_changes_no_bit(workspace, tmp_path):
    without = train("crop_and_flip", workspace, tmp_path / "plain")
    with_it = train("gradient_checkpointing", workspace, tmp_path / "checkpointed")
    assert [step["train_loss"] for step in without[0]] == [step["train_loss"] for step in with_it[0]]
    for name, value in without[1].items():
        np.testing.assert_array_equal(value, with_it[1][name], err_msg=name)


def test_the_file_holds_the_keys_and_shapes_of_the_contract(workspace, tmp_path):
    _, weights = train("one_at_a_time", workspace, tmp_path / "out")
    assert shapes(weights) == (TRACES / "lora_keys.txt").read_text().splitlines()

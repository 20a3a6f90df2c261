"""SIGINT and SIGTERM at whatever a run does: exit code 130, nothing half-made, and the run can go on. A second one ends it at once."""

import os
import re
import shutil
import signal
import time

import pytest
from run_support import (
    BASE,
    LORA,
    PICTURES,
    PROGRAM,
    assert_same_result,
    caption_lists,
    checkpoints,
    end,
    log_lines,
    lora,
    run,
    start,
    text_to_image,
    write_metadata,
)

LATEST = "--resume_from_checkpoint=latest"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return caption_lists(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """So many pictures that a look over them, or encoding them, can be met."""
    folder = tmp_path_factory.mktemp("many") / "pictures"
    folder.mkdir()
    shutil.copyfile(PICTURES / "7-large.jpg", folder / "0.jpg")
    names = [f"{i}.jpg" for i in range(400)]
    for name in names[1:]:
        os.link(folder / "0.jpg", folder / name)
    write_metadata(folder, [{"file_name": name, "text": name} for name in names])
    return folder


def start_and_wait_for(bar, command):
    """Until it shows this bar."""
    process = start(command)
    said = b""
    while not re.search(rf"{bar}: +\d+%", said.decode(errors="replace")):
        piece = os.read(process.stderr.fileno(), 65536)
        assert piece, f"it ended without {bar}: {said.decode()}"
        said += piece
    return process


def interrupt(process, number=signal.SIGINT):
    process.send_signal(number)
    said = end(process)
    assert process.returncode == 130, said
    return said


def left(output):
    return sorted(p.name for p in output.rglob("*")) if output.exists() else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_pictures_are_checked(many, tmp_path, number):
    process = start_and_wait_for("Checking pictures", text_to_image(many, tmp_path / "out"))
    assert "checked" in interrupt(process, number)
    assert left(tmp_path) == []


def test_while_a_dry_run_checks_pictures(many, tmp_path):
    interrupt(start_and_wait_for("Checking pictures", text_to_image(many, tmp_path / "out", "--dry_run")))
    assert left(tmp_path) == []


@pytest.mark.parametrize("what", ["Encoding pictures", "Encoding captions"])
def test_while_inputs_are_encoded_ahead(many, tmp_path, what):
    flags = ["--center_crop", "--max_train_steps=400"]
    process = start_and_wait_for(what, text_to_image(many, tmp_path / "out", *flags, "--encode_memory=disk"))
    assert "before the first step" in interrupt(process)
    # What was encoded stays, each file whole; there is no log and no checkpoint of a run that never began.
    kept = left(tmp_path / "out")
    assert all(name.endswith(".safetensors") for name in kept if "." in name) and not any("checkpoint" in n for n in kept)


def test_while_validation_pictures_are_drawn(data, tmp_path):
    validated = ["--validation_prompt=a", "--num_validation_images=200", "--validation_steps=2"]
    process = start_and_wait_for("Validation", text_to_image(data, tmp_path / "out", *validated))
    said = interrupt(process)
    assert LATEST in said
    assert [p.name for p in checkpoints(tmp_path / "out")][-1] in ("checkpoint-2", "checkpoint-3")
    run(text_to_image(data, tmp_path / "out", LATEST))
    run(text_to_image(data, tmp_path / "whole"))
    # The pictures that were drawn, fewer of them, are in the log too.
    assert [line for line in log_lines(tmp_path / "out") if "images" not in line] == log_lines(tmp_path / "whole")
    assert lora(tmp_path / "out") == lora(tmp_path / "whole")


def test_interrupted_again_and_again(data, tmp_path):
    """Each time a step is finished and kept, whatever --checkpointing_steps says."""
    output = tmp_path / "out"
    flags = ["--checkpointing_steps=100", "--max_train_steps=5"]
    for step in range(1, 5):
        said = interrupt(start_and_wait_for("Steps", text_to_image(data, output, *flags, LATEST)))
        assert f"stopped at step {step} of 5" in said
        assert [p.name for p in checkpoints(output)] == [f"checkpoint-{i}" for i in range(1, step + 1)]
    run(text_to_image(data, output, *flags, LATEST))
    run(text_to_image(data, tmp_path / "whole", *flags))
    assert_same_result(output, tmp_path / "whole")


def test_a_second_one_stops_at_once(data, tmp_path):
    """The first waits for the end of a step that takes minutes."""
    output = tmp_path / "out"
    repeated = tmp_path / "pictures/5000_cat"
    repeated.mkdir(parents=True)
    shutil.copyfile(PICTURES / "7-large.jpg", repeated / "0.jpg")
    flags = ["--gradient_accumulation_steps=100000", "--train_batch_size=8", "--resolution=64"]
    process = start_and_wait_for("Steps", text_to_image(tmp_path / "pictures", output, *flags))
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    began = time.monotonic()
    interrupt(process)
    assert time.monotonic() - began < 5
    assert not checkpoints(output) and not (output / LORA).exists()


def test_while_class_pictures_are_drawn(tmp_path):
    command = [PROGRAM, "train", "dreambooth", f"--pretrained_model_name_or_path={BASE}", f"--instance_data_dir={PICTURES}",
               "--instance_prompt=a", "--with_prior_preservation", "--class_prompt=b", f"--class_data_dir={tmp_path}/class",
               "--num_class_images=500", "--sample_batch_size=1", f"--output_dir={tmp_path}/out", "--device=cpu"]  # fmt: skip
    interrupt(start_and_wait_for("Generating class images", command))
    assert not (tmp_path / "out").exists()
    assert all(name.endswith(".jpg") for name in left(tmp_path / "class"))


def test_while_generate_draws(tmp_path):
    command = [PROGRAM, "generate", f"--pretrained_model_name_or_path={BASE}", "--prompt=a", "--num_inference_steps=900",
               f"--output={tmp_path}/a.png", "--device=cpu"]  # fmt: skip
    interrupt(start_and_wait_for("Drawing", command))
    assert left(tmp_path) == []

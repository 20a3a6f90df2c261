"""Runs that are killed, or whose writes fail half-way, and resumed: in the end nobody can tell."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import pytest
from run_support import (
    assert_checkpoints_whole,
    assert_same_result,
    caption_lists,
    checkpoints,
    end,
    log_lines,
    run,
    start,
    step_of,
    text_to_image,
    wait_for,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_test import environment, parts, read_records, rows

KILLS = 20
LATEST = "--resume_from_checkpoint=latest"
# Random crops and flips, one of several captions, short last groups, dropout, an average.
STEPS, FLAGS = 20, ["--max_train_steps=20", "--use_ema"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return caption_lists(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that never stopped, with all its checkpoints."""
    output = tmp_path_factory.mktemp("whole")
    run(text_to_image(data, output, *FLAGS))
    assert len(checkpoints(output)) == STEPS
    return output


def last_step(output):
    return step_of(checkpoints(output)[-1]) if checkpoints(output) else 0


def incomplete(output):
    return list(output.glob(".checkpoint-*"))


def kill(process):
    process.kill()
    end(process)
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"


def kill_while_starting(process, output, draw):
    time.sleep(draw.uniform(0, 0.3))
    kill(process)


def kill_between_steps(process, output, draw):
    goal = last_step(output) + draw.randint(1, 3)
    assert wait_for(lambda: last_step(output) >= goal, process)
    time.sleep(draw.uniform(0, 0.05))
    kill(process)


def kill_inside_a_checkpoint(process, output, draw):
    """When it writes the LoRA, the state's tensors or the manifest, or a little later."""
    for left_by_the_last in incomplete(output):  # else it would be taken for this run's
        shutil.rmtree(left_by_the_last)
    stage = draw.choice(["pytorch_lora*", "training_state*", "state.json*"])
    assert wait_for(lambda: list(output.glob(f".checkpoint-*/{stage}")), process, pause=1e-4)
    time.sleep(draw.uniform(0, 0.003))
    kill(process)


def test_killed_at_twenty_moments(whole, data, tmp_path):
    draw = random.Random(4)
    output = tmp_path / "out"
    command = text_to_image(data, output, *FLAGS, LATEST)
    kinds = [kill_while_starting, kill_between_steps, kill_inside_a_checkpoint, kill_inside_a_checkpoint]
    inside = 0
    for i in range(KILLS):
        how = kinds[i % len(kinds)]
        how(start(command), output, draw)
        inside += how is kill_inside_a_checkpoint and bool(incomplete(output))
        assert_checkpoints_whole(output, whole)
    assert inside >= 4, "too few kills met a checkpoint that was being written"
    run(command)
    assert not incomplete(output)
    assert_checkpoints_whole(output, whole)
    assert_same_result(output, whole)


def test_killed_where_a_checkpoint_replaces_another(whole, data, tmp_path):
    """A run that goes on from an early checkpoint writes the later ones again."""
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    command = text_to_image(data, output, *FLAGS, "--resume_from_checkpoint=checkpoint-2")
    for stage in [".checkpoint-*.incomplete/state.json", ".checkpoint-*.old"]:
        process = start(command)
        wait_for(lambda stage=stage: list(output.glob(stage)), process, pause=1e-4)
        kill(process)
        assert_checkpoints_whole(output, whole)
    run(command)
    assert_same_result(output, whole)


# Too small for the log, for the LoRA, for the state's tensors.
SIZES = {"writes fail": (300, 20_000, 100_000, 200_000), "killed by the failing write": (300, 30_000, 150_000)}


@pytest.mark.parametrize("case", SIZES)
def test_files_that_may_not_grow(whole, data, tmp_path, case):
    output = tmp_path / "out"
    command = text_to_image(data, output, *FLAGS, LATEST)
    signalled = case == "killed by the failing write"

    def limit(size):
        # With the signal, the kernel ends the program in the middle of the write.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if signalled else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    kill_between_steps(start(command), output, random.Random(1))
    for size in SIZES[case]:
        words = run(command, -signal.SIGXFSZ if signalled else 1, preexec_fn=lambda size=size: limit(size))
        assert signalled or ("error: cannot write" in words and "hint:" in words)
        assert_checkpoints_whole(output, whole)
    run(command)
    assert_checkpoints_whole(output, whole)
    assert_same_result(output, whole)


@pytest.fixture
def small_disk(tmp_path):
    """A folder, and what gives it so many KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(kib, how="remount,"):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", f"{how}size={kib}k", "tmpfs", folder], capture_output=True)

    if os.geteuid() != 0 or resize(4, "").returncode != 0:
        pytest.skip("a disk of a given size needs root")
    yield folder, resize
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full(whole, data, small_disk):
    output, resize = small_disk
    command = text_to_image(data, output, *FLAGS, LATEST)
    checkpoint = sum(file.stat().st_size for file in (whole / "checkpoint-1").iterdir()) // 1024 + 1
    # At the first checkpoint, and with one more on the disk each time: at the LoRA, the tensors, and the last file.
    for kept, share in [(0, 0.1), (0, 0.6), (1, 0.05), (2, 0.3), (3, 0.95), (4, 0.9), (5, 0.98)]:
        resize(int((kept + share) * checkpoint) + 8)
        assert "hint:" in run(command, code=1)
        assert not incomplete(output)
        assert_checkpoints_whole(output, whole)
    resize(100_000)
    run(command)
    assert_checkpoints_whole(output, whole)
    assert_same_result(output, whole)


# Trackers


@pytest.fixture(scope="module")
def tracked(data, tmp_path_factory):
    """(a run that never stopped, one that was killed three times), each with all that can be logged."""
    folder = tmp_path_factory.mktemp("tracked")
    whole, broken = folder / "whole", folder / "broken"
    flags = ["--report_to=all", "--validation_split=0.2", "--validation_loss_steps=2", "--validation_prompt=a",
             "--num_validation_images=1", "--validation_steps=4", "--resolution=16", "--max_train_steps=12"]  # fmt: skip
    env = environment(folder, WANDB_MODE="offline")
    run(text_to_image(data, whole, *flags), env=env)
    command = text_to_image(data, broken, *flags, LATEST)
    draw = random.Random(5)
    for _ in range(3):
        kill_between_steps(start(command, env=env), broken, draw)
    run(command, env=env)
    return whole, broken


def test_the_log_of_a_killed_run_has_everything_once(tracked):
    whole, broken = tracked
    assert_same_result(broken, whole)
    assert sum("validation_loss" in line for line in log_lines(broken)) == 6
    assert sum("images" in line for line in log_lines(broken)) == 4  # three times, and at the end


def events(output):
    (folder,) = (path for path in (output / "logs").iterdir() if list(path.glob("events.out.tfevents.*")))
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    reader.Reload()
    return reader


def test_tensorboard_reads_a_killed_run(tracked):
    whole, broken = map(events, tracked)
    assert sorted(whole.Tags()["scalars"]) == ["lr", "train_loss", "validation_loss"]
    for tag in whole.Tags()["scalars"]:
        values = [[(event.step, event.value) for event in reader.Scalars(tag)] for reader in (whole, broken)]
        assert values[0] == values[1], tag
    for tag in whole.Tags()["images"]:  # counted by epoch: what was drawn again overrules nothing
        assert {event.step for event in whole.Images(tag)} == {event.step for event in broken.Images(tag)}


def test_weights_and_biases_goes_on_under_one_id(tracked):
    whole, broken = (sorted(parts(output), key=lambda file: file.parent.name) for output in tracked)
    assert len(whole) == 1 and len(broken) == 4
    (run_id,) = {file.name for file in broken}
    assert all(file.parent.name.endswith(run_id.removeprefix("run-").removesuffix(".wandb")) for file in broken)

    def history(files):
        kept = ("_step", "train_loss", "lr", "validation_loss")
        return [{name: row[name] for name in kept if name in row} for file in files for row in rows(file)]

    assert history(broken) == history(whole)
    ends = [[record.exit.exit_code for record in read_records(file) if record.HasField("exit")] for file in broken]
    assert ends == [[], [], [], [0]]
    config = {item.key: json.loads(item.value_json) for item in read_records(broken[-1])[1].run.config.update}
    assert config["resume_from_checkpoint"] == "latest" and "hub_token" not in config

"""Validation while training text-to-image: pictures, the loss on pictures held out, what is kept and when a run ends."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from train_support import LORA, ROOT, Run, column, records, values

STYLE = ROOT / "examples/demo-style"
NAMES = [f"{i:03}.png" for i in range(6)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("data") / "data", NAMES)


def photos(folder, names):
    folder.mkdir()
    lines = [line for line in (STYLE / "metadata.jsonl").read_text().splitlines() if json.loads(line)["file_name"] in names]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    for name in names:
        shutil.copy(STYLE / name, folder)
    return folder


@pytest.fixture(scope="module")
def train(data, tmp_path_factory):
    known = {}

    def run(*more, data=data, **environment):
        key = (more, data)
        if key not in known:
            flags = {"train_data_dir": data, "resolution": 32, "train_batch_size": 2, "max_train_steps": 4,
                     "learning_rate": 1e-3, "output_dir": tmp_path_factory.mktemp("run")}  # fmt: skip
            known[key] = Run("text-to-image", flags, more, **environment)
        return known[key]

    return run


# Pictures


PROMPTS = ["a red bus", "a truck, seen from the side", "a cat – ünï"]


@pytest.fixture(scope="module")
def drawn(train, tmp_path_factory):
    """All trackers at once; wandb, without its program, only writes."""
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "prompts.txt").write_text(f"{PROMPTS[1]}\r\n\n{PROMPTS[2]}\n   \n")
    return train("--validation_prompt=" + PROMPTS[0], f"--validation_prompts={folder}/prompts.txt", "--num_validation_images=1",
                 "--validation_steps=3", "--report_to=tensorboard,wandb,jsonl",
                 PATH="/usr/bin:/bin", WANDB_MODE="offline", WANDB_PROJECT="own-project")  # fmt: skip


def test_pictures_are_drawn_by_steps_and_at_the_end(drawn):
    folders = {folder.name: sorted(p.name for p in folder.iterdir()) for folder in (drawn.folder / "validation").iterdir()}
    assert folders == {name: [f"image_{i}.png" for i in range(3)] for name in ("step-3", "final")}
    pictures = [path.read_bytes() for path in sorted((drawn.folder / "validation").rglob("*.png"))]
    assert len(set(pictures)) == 6, "each has its own noise, prompt and LoRA"
    assert all(Image.open(path).size == (32, 32) for path in (drawn.folder / "validation").rglob("*.png"))


def test_drawing_changes_no_bit_of_the_run(train, drawn):
    assert drawn.bits == train().bits


def test_tensorboard_reads_them(drawn):
    events = EventAccumulator(str(drawn.folder / "logs/text2image-fine-tune"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    losses = events.Scalars("train_loss")
    assert [(s.step, s.value) for s in losses] == [(i + 1, np.float32(loss)) for i, loss in enumerate(drawn.losses)]
    tags = events.Tags()
    assert set(tags["scalars"]) >= {"train_loss", "lr"} and set(tags["images"]) == {"validation", "test"}


def test_wandb_has_its_run(drawn):
    (file,) = drawn.folder.glob("logs/wandb/offline-run-*/run-*.wandb")
    content = file.read_bytes()
    for text in ["own-project", "train_loss", "learning_rate", *PROMPTS]:
        assert text.encode() in content or json.dumps(text).encode()[1:-1] in content, text
    assert len(list(file.parent.rglob("*.png"))) == 6
    assert "wandb sync" in drawn.said


def test_pictures_by_epochs_come_from_one_noise(train):
    """Three steps an epoch; of epochs 0, 1 and 2 every other one is drawn. At a rate of 0 nothing else can differ."""
    run = train("--validation_prompt=a bus", "--num_validation_images=2", "--validation_epochs=2", "--max_train_steps=9",
                "--learning_rate=0")  # fmt: skip
    folders = sorted(folder.name for folder in (run.folder / "validation").iterdir())
    assert folders == ["final", "step-3", "step-9"]
    first, second = ({path.read_bytes() for path in (run.folder / "validation").rglob(f"image_{i}.png")} for i in (0, 1))
    assert len(first) == len(second) == 1 and first != second
    assert len(list((run.folder / "validation").rglob("*.png"))) == 6


# The loss on pictures held out


SPLIT = ["--validation_split=0.34"]
MEASURED = [*SPLIT, "--validation_loss_steps=1"]


def validation(run):
    return column(run.folder, "validation_loss")


def test_measuring_changes_no_bit_of_the_run(train):
    measured, rarely = train(*MEASURED), train(*SPLIT, "--validation_loss_steps=100")
    assert measured.bits == rarely.bits
    assert len(validation(measured)) == 4 and validation(rarely) == []
    assert "Held out: 2 of them, for the validation loss" in measured.said
    assert len(set(validation(measured))) == 4, "the LoRA learns"


def test_held_out_pictures_take_no_part(train, tmp_path):
    """They are the first of numpy's permutation by the seed."""
    for seed in (0, 1):
        out = {NAMES[i] for i in np.random.default_rng(seed).permutation(6)[:2]}
        rest = photos(tmp_path / f"rest{seed}", [name for name in NAMES if name not in out])
        assert train(*SPLIT, f"--seed={seed}").bits == train(f"--seed={seed}", data=rest).bits
    assert train(*SPLIT).bits != train().bits


def test_the_loss_is_the_same_number_every_time(train):
    still = validation(train(*MEASURED, "--learning_rate=0", "--lora_dropout=0.5"))
    assert len(still) == 4 and len(set(still)) == 1, "the same noise and timesteps, and no dropout"
    assert validation(train(*MEASURED, "--max_train_steps=3")) == validation(train(*MEASURED))[:3]
    assert validation(train(*MEASURED, "--encode_memory=off")) == validation(train(*MEASURED))


def test_without_steps_it_is_measured_at_each_epochs_end(train):
    """Four pictures of batch two: two steps an epoch, and a half one at the end."""
    run = train(*SPLIT, "--max_train_steps=5")
    measured = [(r["step"], r["validation_loss"]) for r in records(run.folder) if "validation_loss" in r]
    assert [step for step, _ in measured] == [2, 4, 5]
    each = validation(train(*MEASURED, "--max_train_steps=5"))
    assert [loss for _, loss in measured] == [each[1], each[3], each[4]]


def test_it_is_measured_with_the_average(train):
    average = validation(train(*MEASURED, "--use_ema", "--ema_decay=0.5"))
    lora = validation(train(*MEASURED))
    np.testing.assert_allclose(average[0], lora[0], rtol=1e-6)  # the average starts as the LoRA of the first step
    assert average[2:] != lora[2:]
    assert train(*MEASURED, "--use_ema", "--ema_decay=0.5").losses == train(*MEASURED).losses


@pytest.fixture(scope="module")
def rising(train):
    """A rate so high that the loss is lowest somewhere in the middle."""
    return train(*MEASURED, "--learning_rate=5e-2", "--max_train_steps=9", "--checkpointing_steps=1", "--keep_best")


def test_the_best_is_kept(rising, train):
    losses = validation(rising)
    best = int(np.argmin(losses))
    assert 0 < best < 8, losses
    assert (rising.folder / "best" / LORA).read_bytes() == (rising.folder / f"checkpoint-{best + 1}" / LORA).read_bytes()
    assert [p.name for p in (rising.folder / "best").iterdir()] == [LORA]
    assert rising.state(9)["best_validation_loss"] == losses[best]
    assert not (train(*MEASURED).folder / "best").exists()


def test_a_run_that_no_longer_gets_better_ends(train, rising):
    run = train(*MEASURED, "--learning_rate=5e-2", "--max_train_steps=9", "--early_stopping_patience=2")
    losses = validation(rising)
    best, step = float("inf"), 0
    without = 0
    while without < 2:
        without = 0 if losses[step] < best else without + 1
        best = min(best, losses[step])
        step += 1
    assert step < 9, losses
    assert validation(run) == losses[:step] and len(run.losses) == step
    assert f"Stopping early at step {step}: 2 validation losses in a row" in run.said
    lora = (run.folder / LORA).read_bytes()
    assert lora == (rising.folder / f"checkpoint-{step}" / LORA).read_bytes()
    assert f": {step} steps" in run.said


def test_equal_losses_are_no_better(train):
    run = train(*MEASURED, "--learning_rate=0", "--early_stopping_patience=3", "--max_train_steps=9", "--keep_best",
                "--validation_prompt=a bus", "--num_validation_images=1", "--validation_epochs=100")  # fmt: skip
    assert len(run.losses) == 4
    assert not np.any(values(run.lora, "up"))
    assert (run.folder / "validation/final/image_0.png").exists(), "a run that ends early is finished all the same"


def test_dreambooth_validates_too(tmp_path):
    flags = {"instance_data_dir": ROOT / "examples/demo-subject", "instance_prompt": "sks cat", "resolution": 32,
             "max_train_steps": 9, "learning_rate": 0, "validation_split": 0.4, "validation_loss_steps": 2, "keep_best": None,
             "early_stopping_patience": 1, "output_dir": tmp_path}  # fmt: skip
    run = Run("dreambooth", flags, [])
    losses = column(tmp_path, "validation_loss", "dreambooth-lora")
    assert len(losses) == 2 and losses[0] == losses[1]
    assert "Stopping early at step 4" in run.said and (tmp_path / "best" / LORA).exists()
    assert os.listdir(tmp_path / "best") == [LORA]

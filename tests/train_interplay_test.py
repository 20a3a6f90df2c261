"""Where options of `lorikeet train`, its checkpoints and its inputs meet: what one does must not undo another."""

import json
import os
import shutil

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from train_support import LORA, check_failed, lora_bytes, noise, records, run_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six pictures of different widths, with captions."""
    folder = tmp_path_factory.mktemp("data")
    for i in range(6):
        noise(folder / f"{i}.png", width=64 + 8 * i, seed=i)
        (folder / f"{i}.txt").write_text(f"picture {i}, red")
    return folder


def train(data, output, *more):
    flags = {"train_data_dir": data, "resolution": 32, "train_batch_size": 2, "output_dir": output}
    return run_recipe("text-to-image", flags, more)


def dreambooth(data, output, *more):
    flags = {"instance_data_dir": data, "instance_prompt": "a sks", "resolution": 32, "output_dir": output}
    return run_recipe("dreambooth", flags, more)


def trained(done):
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


@pytest.fixture(scope="module")
def started(data, tmp_path_factory):
    """A run with a checkpoint after each of its two steps; the batch to come is in them."""
    output = tmp_path_factory.mktemp("started")
    trained(train(data, output, "--checkpointing_steps=1"))
    return output


# Pictures by epoch and by step


def pictures_logged(output):
    return [(record["step"], *record["images"]) for record in records(output) if "images" in record]


def test_validation_pictures_are_counted_by_the_epoch_they_follow(data, tmp_path):
    flags = ["--validation_prompt=a", "--num_validation_images=1", "-max_train_steps"]
    trained(train(data, tmp_path, *flags, "--num_train_epochs=3", "--report_to=tensorboard"))
    assert pictures_logged(tmp_path) == [(0, "validation"), (1, "validation"), (2, "validation"), (2, "test")]
    reader = EventAccumulator(str(tmp_path / "logs/text2image-fine-tune"), size_guidance={"images": 0})
    reader.Reload()
    assert [event.step for event in reader.Images("validation")] == [0, 1, 2]


def test_validation_pictures_by_step_are_counted_by_step(data, tmp_path):
    flags = ["--validation_prompt=a", "--num_validation_images=1", "--validation_steps=1"]
    trained(train(data, tmp_path, *flags))
    assert pictures_logged(tmp_path) == [(1, "validation"), (2, "validation"), (2, "test")]


def test_a_run_that_stops_early_ends_in_the_epoch_it_is_in(data, tmp_path):
    flags = ["--validation_split=0.3", "--early_stopping_patience=1", "--learning_rate=0", "--max_train_steps=40"]
    said = trained(train(data, tmp_path, *flags, "--validation_prompt=a", "--num_validation_images=1"))
    assert "Stopping early at step 4" in said  # two epochs of two batches, the same loss after each
    assert pictures_logged(tmp_path) == [(0, "validation"), (1, "validation"), (1, "test")]


# Going on with other options


@pytest.mark.parametrize("more", [["--center_crop"], ["--center_crop", "--random_flip"], ["--caption_prefix=new"],
                                  ["--center_crop", "--dataloader_num_workers=2"]])  # fmt: skip
def test_the_batch_of_a_checkpoint_outlives_an_override(more, started, data, tmp_path):
    """All that the new options can ask for is encoded beforehand; the batch that was drawn under the old ones too."""
    (tmp_path / "checkpoint-1").symlink_to(started / "checkpoint-1")
    names = [flag[2:].partition("=")[0] for flag in more if "workers" not in flag]
    more = [*more, "--max_train_steps=40", "--resume_from_checkpoint=latest"]
    flags = {"train_data_dir": data, "resolution": 32, "train_batch_size": 2, "output_dir": tmp_path, "override": names}
    assert "Resuming from" in trained(run_recipe("text-to-image", flags, more))
    assert max(record.get("step", 0) for record in records(tmp_path)) == 40


def test_another_prompt_is_another_run(data, tmp_path):
    trained(dreambooth(data, tmp_path, "--checkpointing_steps=1", "--max_train_steps=1"))
    resume = "--resume_from_checkpoint=latest"
    hint = check_failed(dreambooth(data, tmp_path, "--instance_prompt=a dog", resume), 2, "--instance_prompt", "a sks")
    assert "--override" not in hint
    check_failed(dreambooth(data, tmp_path, "--instance_prompt=a dog", resume, "--override=instance_prompt"), 2,
                 "--override", "--instance_prompt")  # fmt: skip


def test_a_run_without_a_seed_finds_its_samples_again(data, tmp_path):
    flags = ["-seed", "--max_train_samples=4", "--checkpointing_steps=1"]
    trained(train(data, tmp_path, *flags))
    said = trained(train(data, tmp_path, *flags, "--max_train_steps=3", "--resume_from_checkpoint=latest"))
    assert "Resuming from" in said and ": 3 steps" in said


@pytest.mark.parametrize("where", [["step"], ["options", "rank"], ["dataset", 0], ["loader", "pending"]], ids=str)
def test_a_state_nested_without_end_is_refused(where, started, data, tmp_path):
    checkpoint = shutil.copytree(started / "checkpoint-2", tmp_path / "checkpoint-2")
    state = json.loads((checkpoint / "state.json").read_text())
    part = state
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = "HERE"
    deep = "[" * 300_000 + "]" * 300_000  # deeper than a stack that follows it
    (checkpoint / "state.json").write_text(json.dumps(state).replace('"HERE"', deep))
    done = train(data, tmp_path, "--max_train_steps=3", "--resume_from_checkpoint=latest")
    check_failed(done, 2 if "rank" in where else 1)
    assert len(done.stderr) < 5000


# Names and texts


def test_names_that_are_no_utf8_go_into_checkpoints(data, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i, name in enumerate((b"\xff.png", b"\xfe.png", b"fine.png")):
        shutil.copy(data / f"{i}.png", os.fsencode(pictures) + b"/" + name)
    trained(dreambooth(pictures, tmp_path / "out", "--checkpointing_steps=1"))
    said = trained(dreambooth(pictures, tmp_path / "out", "--max_train_steps=3", "--resume_from_checkpoint=latest"))
    assert "Resuming from" in said
    Image.open(data / "4.png").save(os.fsencode(pictures) + b"/\xff.png", "PNG")
    done = dreambooth(pictures, tmp_path / "out", "--max_train_steps=4", "--resume_from_checkpoint=latest")
    check_failed(done, 2, "the picture \N{REPLACEMENT CHARACTER}.png", "is not the one")


@pytest.mark.parametrize("flag", ["caption_prefix", "default_caption", "caption_separator", "validation_prompt"])
def test_texts_that_are_no_utf8_are_refused(flag, data, tmp_path):
    check_failed(train(data, tmp_path / "out", f"--{flag}=" + os.fsdecode(b"a \xff")), 2, f"--{flag}", "UTF-8")
    assert not (tmp_path / "out").exists()


def test_prompts_that_are_no_utf8_are_refused(data, tmp_path):
    bad = os.fsdecode(b"a \xff")
    check_failed(dreambooth(data, tmp_path / "out", f"--instance_prompt={bad}"), 2, "--instance_prompt", "UTF-8")
    check_failed(dreambooth(data, tmp_path / "out", f"--class_prompt={bad}"), 2, "--class_prompt", "UTF-8")


# Numbers that are not finite


def test_a_last_step_that_is_left_out_costs_no_other(data, tmp_path):
    """The run goes on from a checkpoint with steps that all fail: what was learned before them is saved."""
    trained(train(data, tmp_path, "--checkpointing_steps=2"))
    learned = lora_bytes(tmp_path)
    (tmp_path / LORA).unlink()
    more = ["--max_train_steps=4", "--noise_offset=1e20", "--override=noise_offset", "--resume_from_checkpoint=latest"]
    said = trained(train(data, tmp_path, *more))
    assert said.count("the step is left out") == 2 and "(2 left out, being not finite)" in said
    assert lora_bytes(tmp_path) == learned


# What has no effect


def test_embeddings_cannot_be_kept_where_nothing_is(data, tmp_path):
    flags = ["--pre_compute_text_embeddings", "--max_train_steps=1"]
    assert "has no effect" not in trained(dreambooth(data, tmp_path / "memory", *flags))
    said = trained(dreambooth(data, tmp_path / "off", *flags, "--encode_memory=off"))
    assert "warning: --pre_compute_text_embeddings has no effect with --encode_memory=off" in said


# Decoding ahead


def test_threads_change_nothing_of_what_is_remembered_and_what_is_not(data, tmp_path):
    """With --random_flip a picture is remembered one way round, and asked for again the other way."""
    flags = ["--center_crop", "--random_flip", "--max_train_steps=8", "--masked_loss"]
    losses = []
    for name, more in (("0", []), ("3", ["--dataloader_num_workers=3"]),
                       ("off", ["--dataloader_num_workers=3", "--encode_memory=off"])):  # fmt: skip
        trained(train(data, tmp_path / name, *flags, *more))
        losses.append(([r["train_loss"] for r in records(tmp_path / name) if "train_loss" in r], lora_bytes(tmp_path / name)))
    assert losses[0] == losses[1] == losses[2] and len(losses[0][0]) == 8

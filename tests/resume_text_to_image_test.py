"""What a checkpoint of `lorikeet train text-to-image` has to hold, and what a resume accepts and refuses."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from run_support import (
    BASE,
    LORA,
    PROGRAM,
    assert_checkpoints_whole,
    assert_same_result,
    caption_lists,
    checkpoints,
    log_lines,
    lora,
    read_metadata,
    run,
    state,
    step_of,
    text_to_image,
    write_metadata,
)
from safetensors.numpy import load_file

LATEST = "--resume_from_checkpoint=latest"
EPOCH = 3  # steps of caption_lists' ten pictures: two of two batches, and a last one that is short


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return caption_lists(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    run(text_to_image(data, output))
    return output


def rewind(whole, output, step, cut_log=False):
    """`output` as a run leaves it that is killed after checkpoint-`step`: at its very end, or at once."""
    shutil.copytree(whole, output, ignore=lambda folder, names: [LORA, "cache"] if folder == str(whole) else [])
    for folder in checkpoints(output):
        if step_of(folder) > step:
            shutil.rmtree(folder)
    for log in (output / "logs").glob("*.jsonl") if cut_log else []:
        logged = 1 + state(output / f"checkpoint-{step}")["logged"]  # a line of options comes first
        lines = log.read_text().splitlines(keepends=True)[:logged]
        log.write_text("".join(lines) + '{"step": 999, "time": 17955')  # killed while it wrote the next one


# Each with what its state must hold, so that a scenario that has come to test nothing is noticed.
SCENARIOS = {
    "adamw8bit": (["--optimizer=adamw8bit", "--rank=64", "--target_modules=to_q"], np.uint8),
    "adafactor": (["--optimizer=adafactor"], None),
    "lion": (["--optimizer=lion"], None),
    "prodigy": (["--optimizer=prodigy", "--learning_rate=1"], None),
    "schedulefree": (["--optimizer=schedulefree", "--lr_scheduler=constant"], None),
    "text encoder": (["--train_text_encoder", "--text_encoder_target_modules=q_proj"], None),
    "buckets and shuffled captions": (
        ["--bucket", "--min_bucket_reso=16", "--bucket_reso_steps=8", "--shuffle_caption", "--caption_separator= ",
         "--caption_dropout_rate=0.3", "--dataloader_num_workers=2", "--use_ema"], None),
    "other noise, other weights": (
        ["--noise_offset=0.1", "--multires_noise_iterations=2", "--input_perturbation=0.1", "--snr_gamma=5",
         "--lora_plus_ratio=4", "--encode_memory=disk"], None),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_resumed_mid_epoch_is_bit_identical(name, data, tmp_path):
    flags, dtype = SCENARIOS[name]
    whole, output = tmp_path / "whole", tmp_path / "out"
    command = [*flags, f"--max_train_steps={2 * EPOCH}"]
    run(text_to_image(data, whole, *command))
    assert dtype is None or any(t.dtype == dtype for t in load_file(whole / "checkpoint-4/training_state.safetensors").values())
    rewind(whole, output, EPOCH + 1)
    run(text_to_image(data, output, *command, LATEST))
    assert_checkpoints_whole(output, whole)
    assert_same_result(output, whole)


VALIDATION = {
    "by steps, and pictures": ["--validation_loss_steps=1", "--validation_prompt=a", "--num_validation_images=1",
                               f"--validation_steps={EPOCH}", "--resolution=16"],
    "by epochs": ["--keep_best"],
}  # fmt: skip


@pytest.mark.parametrize("name", VALIDATION)
def test_the_log_of_a_validated_run_is_identical(name, data, tmp_path):
    flags = ["--validation_split=0.2", f"--max_train_steps={2 * EPOCH}", *VALIDATION[name]]
    whole = tmp_path / "whole"
    run(text_to_image(data, whole, *flags))
    assert any("validation_loss" in line for line in log_lines(whole))
    # In an epoch, at its end, at the run's end; what comes behind the checkpoint was logged already, or not.
    for step, cut_log in [(EPOCH - 1, True), (EPOCH, False), (EPOCH, True), (2 * EPOCH, False)]:
        output = tmp_path / f"{step}-{cut_log}"
        rewind(whole, output, step, cut_log)
        run(text_to_image(data, output, *flags, LATEST))
        assert_checkpoints_whole(output, whole)
        assert_same_result(output, whole)


def test_a_run_that_stopped_early_stops_there_again(data, tmp_path):
    flags = ["--validation_split=0.2", "--validation_loss_steps=1", "--early_stopping_patience=1", "--learning_rate=3"]
    whole, output = tmp_path / "whole", tmp_path / "out"
    assert "Stopping early" in run(text_to_image(data, whole, *flags))
    last = step_of(checkpoints(whole)[-1])
    assert last < 8
    rewind(whole, output, last)
    run(text_to_image(data, output, *flags, LATEST))
    assert_same_result(output, whole)
    # Who has more patience goes on.
    run(text_to_image(data, output, *flags, "--early_stopping_patience=100", LATEST))
    assert step_of(checkpoints(output)[-1]) == 8


# Options


def test_a_rate_that_is_overridden_holds_and_is_recorded(whole, data, tmp_path):
    rewind(whole, tmp_path / "out", 4)
    output = tmp_path / "out"
    faster = [LATEST, "--learning_rate=5e-3"]
    words = run(text_to_image(data, output, *faster), 2)
    assert "--learning_rate=0.001" in words and "0.005" in words and "--override learning_rate" in words
    assert lora_is_absent(output)
    run(text_to_image(data, output, *faster, "--override=learning_rate", "--max_train_steps=6"))
    assert [line["lr"] for line in log_lines(output)[:4]] == [line["lr"] for line in log_lines(whole)[:4]]
    assert log_lines(output)[4]["lr"] > log_lines(whole)[4]["lr"]
    assert state(output / "checkpoint-6")["options"]["learning_rate"] == 5e-3
    # From here on it is what the run is made with.
    run(text_to_image(data, output, *faster, "--max_train_steps=7"))
    assert "0.005" in run(text_to_image(data, output, LATEST), 2)


def lora_is_absent(output):
    return not (output / LORA).exists()


# What differs, and whether --override is offered.
OTHER_OPTIONS = {
    "--rank=2": False,
    "--use_ema": False,
    "--resolution=40": False,
    "--masked_loss": False,
    "--gradient_accumulation_steps=3": True,
    "--lr_scheduler=linear": True,
    "--center_crop": True,
}


@pytest.mark.parametrize("flag", OTHER_OPTIONS)
def test_another_option_is_refused_by_name(flag, whole, data, tmp_path):
    (tmp_path / "checkpoint-4").symlink_to(whole / "checkpoint-4")
    words = run(text_to_image(data, tmp_path, flag, LATEST), 2)
    name = flag[2:].partition("=")[0]
    assert f"--{name}" in words.partition("hint:")[0]
    assert (f"--override {name}" in words) == OTHER_OPTIONS[flag]


def test_overrides_that_cannot_be_are_refused(whole, data, tmp_path):
    (tmp_path / "checkpoint-4").symlink_to(whole / "checkpoint-4")
    for name in ("rank", "no_such_option"):
        words = run(text_to_image(data, tmp_path, LATEST, "--rank=2", f"--override={name}"), 2)
        assert "--override" in words and name in words and "hint:" in words


# Data


@pytest.fixture
def changed(data, tmp_path):
    """A copy of the data set, to be changed."""
    return shutil.copytree(data, tmp_path / "changed")


def refused(whole, changed, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "checkpoint-4").symlink_to(whole / "checkpoint-4")
    before = log_lines(whole)
    words = run(text_to_image(changed, output, LATEST), 2)
    assert "hint:" in words and log_lines(whole) == before
    assert [p.name for p in output.iterdir()] == ["checkpoint-4"]
    return words.partition("error:")[2]


def test_the_same_pictures_elsewhere_will_do(whole, data, changed, tmp_path):
    output = tmp_path / "out"
    rewind(whole, output, 4)
    run(text_to_image(changed, output, LATEST))
    assert_same_result(output, whole)


def test_a_picture_that_is_another_is_named(whole, changed, tmp_path):
    shutil.copyfile(changed / "7-large.jpg", changed / "4-grey.jpg")
    assert "4-grey.jpg" in refused(whole, changed, tmp_path)


def test_a_picture_of_as_many_bytes_that_is_another_is_named(whole, changed, tmp_path):
    file = changed / "0-wide.png"
    size = file.stat().st_size
    with Image.open(file) as picture:
        picture.convert("RGB").point(lambda value: 255 - value).save(file, compress_level=9)
    assert file.stat().st_size <= size
    file.write_bytes(file.read_bytes().ljust(size, b"\0"))
    assert "0-wide.png" in refused(whole, changed, tmp_path)


def test_a_caption_that_is_another_is_named(whole, changed, tmp_path):
    lines = read_metadata(changed)
    lines[5]["text"][-1] += "."
    write_metadata(changed, lines)
    assert lines[5]["file_name"] in refused(whole, changed, tmp_path)


def test_a_picture_more_is_told(whole, changed, tmp_path):
    shutil.copyfile(changed / "7-large.jpg", changed / "zz.jpg")
    write_metadata(changed, [*read_metadata(changed), {"file_name": "zz.jpg", "text": ["one more"]}])
    assert "10 pictures, there are 11 now" in refused(whole, changed, tmp_path)


def test_a_picture_less_is_named(whole, changed, tmp_path):
    lines = read_metadata(changed)
    (changed / lines[3]["file_name"]).unlink()
    write_metadata(changed, lines[:3] + lines[4:])
    assert lines[3]["file_name"] in refused(whole, changed, tmp_path)


def test_pictures_in_another_order_are_refused(whole, changed, tmp_path):
    lines = read_metadata(changed)
    write_metadata(changed, lines[::-1])
    assert lines[0]["file_name"] in refused(whole, changed, tmp_path)


# The file that Diffusers loads


def test_a_checkpoints_lora_draws(whole, tmp_path):
    def draw(*more):
        picture = tmp_path / "p.png"
        command = [PROGRAM, "generate", f"--pretrained_model_name_or_path={BASE}", "--prompt=a", "--seed=0", "--device=cpu",
                   "--num_inference_steps=2", f"--output={picture}", *more]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        return picture.read_bytes()

    assert len({draw(), draw(f"--lora={whole}/checkpoint-4"), draw(f"--lora={whole}/checkpoint-8/{LORA}")}) == 3
    assert (whole / "checkpoint-8" / LORA).read_bytes() == lora(whole)

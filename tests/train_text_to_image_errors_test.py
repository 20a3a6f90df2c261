"""Bad input to `lorikeet train text-to-image`: the exit code, one clear line, a hint, and nothing half-written."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from train_support import BASE, LORA, check_failed, left_in, noise, run_recipe


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Three pictures with their captions in metadata.jsonl."""
    folder = tmp_path_factory.mktemp("good")
    for i in range(3):
        noise(folder / f"{i}.png", width=64 + 8 * i, seed=i)
    write_metadata(folder, [{"file_name": f"{i}.png", "text": f"picture {i}"} for i in range(3)])
    return folder


@pytest.fixture
def data(good, tmp_path):
    """A copy to damage."""
    return shutil.copytree(good, tmp_path / "data")


def write_metadata(folder, lines):
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def train(data, output, *more, **environment):
    """Two steps; what `more` says goes before it."""
    return run_recipe("text-to-image", {"train_data_dir": data, "resolution": 32, "output_dir": output}, more, **environment)


# Every option's range is tried in src/training/train_text_to_image_options_test.cpp; these show how it is told.
VALUES = {
    f"{name}={value}": ([f"--{name}={value}"], [f"--{name}: {expected}", f"'{value}'"])
    for name, value, expected in [
        ("rank", 0, "at least 1"), ("resolution", 100, "a multiple of 8, at least 8"),
        ("ema_decay", "1.0", "at least 0, below 1"),
        ("loss_type", "l1", "one of l2, huber, smooth_l1"), ("keep_tokens", "1.5", "a whole number"),
        ("huber_c", "nan", "a finite number"), ("validation_split", "10%", "a number"),
        ("bucket", "2", "no value, or true or false"),
        ("max_nonfinite_steps", "", "a whole number"),
    ]
}  # fmt: skip
WORDS = {
    "an option that is not there": (["--lora_minus=16"], ["unknown option --lora_minus"]),
    "one of several options": (["--validation_prom=cat"], ["--validation_prom", "--validation_prompt", "--validation_prompts"]),
}
TOGETHER = {
    "two weights of timesteps": (["--snr_gamma=5", "--debiased_estimation_loss"],
                                 ["--snr_gamma", "--debiased_estimation_loss"]),
    "more timesteps than there are": (["--max_timestep=1001"], ["--max_timestep is 1001", "1000"]),
    "buckets upside down": (["--bucket", "--min_bucket_reso=64", "--max_bucket_reso=32"],
                            ["--min_bucket_reso is 64", "--max_bucket_reso, 32"]),
    "buckets beyond the resolution": (["--bucket"], ["--resolution=32", "--bucket_reso_steps"]),
    "a least side off the steps": (["--bucket", "--bucket_reso_steps=16", "--min_bucket_reso=24", "--max_bucket_reso=64"],
                                   ["--min_bucket_reso=24", "multiple of 16"]),
    "a longest side below the resolution": (["--bucket", "--bucket_reso_steps=8", "--min_bucket_reso=16",
                                             "--max_bucket_reso=24"], ["--max_bucket_reso=24", "32"]),
    "nothing held out to be best": (["--keep_best"], ["--keep_best needs --validation_split"]),
    "numbers Adafactor lacks": (["--optimizer=adafactor", "--adam_beta1=0.8"], ["--adam_beta1 is 0.8", "adafactor"]),
    "numbers Lion lacks": (["--optimizer=lion", "--adam_epsilon=1e-6"], ["--adam_epsilon is 1e-06", "lion"]),
    "Prodigy without epsilon": (["--optimizer=prodigy", "--adam_epsilon=0"], ["--adam_epsilon is 0", "prodigy"]),
    "schedule-free without beta1": (["--optimizer=schedulefree", "--adam_beta1=0"], ["--adam_beta1 is 0", "schedulefree"]),
    "fp16 on a CPU": (["--mixed_precision=fp16"], ["--mixed_precision=fp16", "CPU"]),
    "more samples than pictures": (["--max_train_samples=4"], ["--max_train_samples is 4", "3 pictures"]),
    "one sample to split": (["--validation_split=0.5", "--max_train_samples=1"], ["--validation_split=0.5", "1 picture"]),
    "wandb and a token": (["--report_to=wandb", "--hub_token=hf_x"], ["--report_to=wandb", "--hub_token"]),
}
NAMES = {
    "no such layer": (["--target_modules=to_zz"], ["to_zz"]),
    "no such layer of the text encoder": (["--train_text_encoder", "--text_encoder_target_modules=to_q"], ["to_q"]),
    "a rank without a layer": (["--rank_pattern=to_zz=4"], ["--rank_pattern", "to_zz"]),
    "a rank that is no number": (["--rank_pattern=to_k=four"], ["--rank_pattern", "'to_k=four'"]),
    "a rank of nothing": (["--rank_pattern=to_k=0"], ["--rank_pattern", "'to_k=0'"]),
    "a rank without a name": (["--rank_pattern==4"], ["--rank_pattern", "'=4'"]),
    "a rank beyond all": (["--rank_pattern=to_k=999999999999"], ["--rank_pattern", "to_k=999999999999"]),
    "no such tracker": (["--report_to=tensorbord"], ["--report_to", "'tensorbord'"]),
    "one tracker too many": (["--report_to=tensorboard,mlfow"], ["--report_to", "mlfow"]),
    "comet_ml": (["--report_to=comet_ml"], ["--report_to=comet_ml", "not available"]),
    "none and another": (["--report_to=none,wandb"], ["--report_to", "'none,wandb'"]),
    "no tracker": (["--report_to="], ["--report_to", "''"]),
    "override of nothing": (["--override=learning_rte"], ["--override", "--learning_rte"]),
    "override of what stays": (["--override=rank"], ["--override", "--rank"]),
    "override of what stays, after another": (["--override=learning_rate", "--override=seed"], ["--override"]),
    "no data set": (["-train_data_dir"], ["--train_data_dir or --dataset_name is required"]),
}  # fmt: skip
USAGE = {**VALUES, **WORDS, **TOGETHER, **NAMES}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_flags_exit_2_with_a_hint_and_write_nothing(case, good, tmp_path):
    flags, words = USAGE[case]
    assert check_failed(train(good, tmp_path / "out", *flags), 2, *words)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("flag", ["--dry_run", "--encode_memory=off"])
def test_the_same_with(good, tmp_path, flag):
    assert check_failed(train(good, tmp_path / "out", flag, "--max_train_samples=4"), 2, "--max_train_samples is 4")
    assert left_in(tmp_path) == []


# The data set's folder


def fails_before_training(data, tmp_path, code, *words, flags=()):
    """The hint."""
    hint = check_failed(train(data, tmp_path / "out", *flags), code, *words)
    assert not (tmp_path / "out").exists()
    return hint


def test_a_folder_that_is_not_there(tmp_path):
    assert fails_before_training(tmp_path / "none", tmp_path, 1, f"{tmp_path}/none", "No such file")


def test_a_file_as_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    assert fails_before_training(tmp_path / "file", tmp_path, 1, f"{tmp_path}/file")


def test_an_empty_folder(tmp_path):
    (tmp_path / "data").mkdir()
    assert fails_before_training(tmp_path / "data", tmp_path, 1, f"{tmp_path}/data", "empty")


def test_a_folder_without_pictures_says_what_is_there(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/notes.txt").write_text("cats")
    assert fails_before_training(tmp_path / "data", tmp_path, 1, "no JPEG, PNG or WebP picture", "notes.txt")


def test_pictures_without_captions(data, tmp_path):
    (data / "metadata.jsonl").unlink()
    (data / "1.txt").write_text("a caption")
    hint = fails_before_training(data, tmp_path, 1, "2 of 3 pictures have no caption", "0.png", "2.png")
    assert "--default_caption" in hint
    assert train(data, tmp_path / "out", "--default_caption=a cat").returncode == 0


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_another_name_for_the_captions_is_asked_after(data, tmp_path, suffix):
    (data / "metadata.jsonl").unlink()
    if suffix == "jsonl":
        write_metadata(data, [{"file_name": "0.png", "prompt": "a cat"}])
    else:
        (data / "metadata.csv").write_text("file_name,prompt\n0.png,a cat\n")
    hint = fails_before_training(data, tmp_path, 2, "--caption_column=text", f"metadata.{suffix}", "file_name, prompt")
    assert '--caption_column="prompt"' in hint
    assert train(data, tmp_path / "out", "--caption_column=prompt").returncode == 0


def test_a_caption_column_that_is_not_there(data, tmp_path):
    flags = ["--caption_column=description"]
    hint = fails_before_training(data, tmp_path, 2, "--caption_column=description", "file_name, text", flags=flags)
    assert '--caption_column="text"' in hint


METADATA = {
    "damaged JSON": ('{"file_name": "1.png", "text": "a', ["metadata.jsonl", "line 2", "damaged JSON"]),
    "no object": ('["1.png", "a cat"]', ["metadata.jsonl", "line 2", "array"]),
    "no file": ('{"text": "a cat"}', ["metadata.jsonl", "line 2", "no file is named"]),
    "a number as caption": ('{"file_name": "1.png", "text": 7}', ["metadata.jsonl", "line 2", "number"]),
    "no caption": ('{"file_name": "1.png"}', ["1.png", "no caption"]),
    "a picture that is not there": ('{"file_name": "9.png", "text": "a cat"}', ["metadata.jsonl", "9.png"]),
    "a way out": ('{"file_name": "../good/1.png", "text": "a cat"}', ["metadata.jsonl", "line 2", "../good/1.png"]),
    "Latin-1": (b'{"file_name": "1.png", "text": "caf\xe9"}', ["metadata.jsonl", "line 2"]),
}


@pytest.mark.parametrize("case", METADATA)
def test_damaged_metadata_is_told_with_its_line(data, tmp_path, case):
    line, words = METADATA[case]
    line = line if isinstance(line, bytes) else line.encode()
    (data / "metadata.jsonl").write_bytes(b'{"file_name": "0.png", "text": "a cat"}\n' + line + b"\n")
    assert fails_before_training(data, tmp_path, 1, *words)


def test_two_metadata_files(data, tmp_path):
    (data / "metadata.csv").write_text("file_name,text\n0.png,a cat\n")
    assert fails_before_training(data, tmp_path, 1, "metadata.csv", "metadata.jsonl")


# Pictures


@pytest.mark.parametrize("name, workers", [("cut.jpg", 0), ("cut.png", 3), ("cut.webp", 0)])
def test_damaged_pictures_are_named_before_the_training(data, tmp_path, name, workers):
    noise(data / name)
    content = (data / name).read_bytes()
    (data / name).write_bytes(content[: len(content) // 2])
    (data / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    write_metadata(data, [{"file_name": n, "text": "a cat"} for n in ("0.png", name, "1.png", "2.png")])
    flags = [f"--dataloader_num_workers={workers}"]
    hint = fails_before_training(data, tmp_path, 1, "2 of the pictures cannot be read", name, "2.png", flags=flags)
    assert "take them out" in hint
    assert fails_before_training(data, tmp_path, 1, name, flags=[*flags, "--dry_run"])


def test_one_picture_cannot_be_split(data, tmp_path):
    write_metadata(data, [{"file_name": "0.png", "text": "a cat"}])
    flags = ["--validation_split=0.5"]
    assert fails_before_training(data, tmp_path, 2, "--validation_split=0.5", "1 picture", flags=flags)
    write_metadata(data, [{"file_name": f"{i}.png", "text": "a cat"} for i in range(2)])
    for share in ("0.01", "0.99"):  # always at least one for each side
        done = train(data, tmp_path / "out", f"--validation_split={share}", "--dry_run")
        assert done.returncode == 0 and "Held out: 1 of them" in done.stdout, done.stderr


def mask(path, size, value=255):
    Image.fromarray(np.full((size[1], size[0]), value, np.uint8)).save(path)


MASKS = {"another size": (lambda path: mask(path, (64, 63)), ["0.mask.png is 64 x 63", "0.png is 64 x 64"]),
         "damaged": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\nno more"), ["0.mask.png"]),
         "text": (lambda path: path.write_text("white"), ["0.mask.png"])}  # fmt: skip


@pytest.mark.parametrize("case", MASKS)
def test_masks_that_do_not_fit_are_named(data, tmp_path, case):
    make, words = MASKS[case]
    make(data / "0.mask.png")
    mask(data / "1.mask.png", (72, 64))
    assert fails_before_training(data, tmp_path, 1, "1 of the masks", *words, flags=["--masked_loss"])
    done = train(data, tmp_path / "out")
    assert done.returncode == 0, "without --masked_loss a mask is looked at by nobody"


def test_a_mask_that_metadata_names_as_a_picture(data, tmp_path):
    mask(data / "0.mask.png", (64, 64))
    write_metadata(data, [{"file_name": "0.mask.png", "text": "a cat"}])
    assert fails_before_training(data, tmp_path, 1, "0.mask.png", "is a mask", flags=["--masked_loss"])


# Parquet


def write_parquet(good, path, column="text", caption="a cat"):
    pictures = [{"bytes": (good / f"{i}.png").read_bytes(), "path": f"{i}.png"} for i in range(3)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(pictures, kind), column: [caption] * 3}), path)


@pytest.fixture
def parquet(good, tmp_path):
    (tmp_path / "rows").mkdir()
    write_parquet(good, tmp_path / "rows/train-00000-of-00001.parquet")
    return tmp_path / "rows/train-00000-of-00001.parquet"


def test_a_parquet_file_trains_as_its_pictures_do(good, parquet, data, tmp_path):
    write_metadata(data, [{"file_name": f"{i}.png", "text": "a cat"} for i in range(3)])
    assert train(data, tmp_path / "folder").returncode == 0
    done = train(parquet.parent, tmp_path / "parquet", f"--cache_dir={tmp_path}/cache")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "parquet" / LORA).read_bytes() == (tmp_path / "folder" / LORA).read_bytes()
    assert (tmp_path / "cache/pictures").is_dir() and not (tmp_path / "parquet/cache").exists()


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -9])
def test_a_parquet_file_cut_short(parquet, tmp_path, keep):
    parquet.write_bytes(parquet.read_bytes()[:keep])
    check_failed(train(parquet.parent, tmp_path / "out"), 1, parquet.name)
    assert not (tmp_path / "out" / LORA).exists()


def test_parquet_columns_that_are_not_there(good, parquet, tmp_path):
    write_parquet(good, parquet, column="caption")
    hint = check_failed(train(parquet.parent, tmp_path / "out"), 2, parquet.name, "no column 'text'", "'caption'")
    assert "--caption_column=caption" in hint
    assert check_failed(train(parquet.parent, tmp_path / "out", "--image_column=photo"), 2, parquet.name, "no column 'photo'")
    assert check_failed(train(parquet.parent, tmp_path / "out", "--caption_column=image"), 2, "'image' is struct")
    assert not list(tmp_path.glob("out/*.safetensors")) and not (tmp_path / "out/logs").exists()
    done = train(parquet.parent, tmp_path / "out", "--caption_column=caption")
    assert done.returncode == 0, done.stderr


def test_a_parquet_copy_that_cannot_be_written(parquet, tmp_path):
    (tmp_path / "file").write_text("kept")
    done = train(parquet.parent, tmp_path / "out", f"--cache_dir={tmp_path}/file")
    assert check_failed(done, 1, f"{tmp_path}/file")
    assert not (tmp_path / "out" / LORA).exists()


# Validation prompts


def test_a_prompt_file_that_is_not_there(good, tmp_path):
    flags = [f"--validation_prompts={tmp_path}/none.txt"]
    fails_before_training(good, tmp_path, 1, f"{tmp_path}/none.txt", flags=flags)


def test_a_prompt_file_without_prompts(good, tmp_path):
    (tmp_path / "prompts.txt").write_text("\n  \n\r\n")
    flags = [f"--validation_prompts={tmp_path}/prompts.txt"]
    assert "a line" in fails_before_training(good, tmp_path, 1, "--validation_prompts", "prompts.txt", flags=flags)


# Models and the environment: what is not tried in train_errors_test.py already


def test_a_model_whose_schedule_is_shorter(good, tmp_path):
    copy = shutil.copytree(BASE, tmp_path / "model")
    config = json.loads((copy / "scheduler/scheduler_config.json").read_text())
    (copy / "scheduler/scheduler_config.json").write_text(json.dumps({**config, "num_train_timesteps": 400}))
    model = f"--pretrained_model_name_or_path={copy}"
    assert fails_before_training(good, tmp_path, 2, "--max_timestep is 500", "400", flags=[model, "--max_timestep=500"])
    assert fails_before_training(good, tmp_path, 2, "--min_timestep is 400", "400", flags=[model, "--min_timestep=400"])
    done = train(good, tmp_path / "out", model, "--min_timestep=399")
    assert done.returncode == 0, done.stderr


def test_several_processes(good, tmp_path):
    assert check_failed(train(good, tmp_path / "out", WORLD_SIZE="2"), 2, "WORLD_SIZE is 2")
    assert left_in(tmp_path) == []


# Resuming


@pytest.fixture(scope="module")
def whole(good, tmp_path_factory):
    """A run of one step, with its checkpoint."""
    folder = tmp_path_factory.mktemp("whole")
    done = train(good, folder, "--max_train_steps=1", "--checkpointing_steps=1", "--validation_split=0.3", "--use_ema")
    assert done.returncode == 0, done.stderr
    return folder


RESUMED = ["--resume_from_checkpoint=latest", "--validation_split=0.3", "--use_ema"]
CHANGED = {
    "learning rate": (["--learning_rate=0.5"], ["--learning_rate=0.0001", "0.5"], "--override learning_rate"),
    "loss": (["--loss_type=huber"], ["--loss_type", "l2", "huber"], "--override loss_type"),
    "captions": (["--caption_prefix=sks"], ["--caption_prefix", "sks"], "--override caption_prefix"),
    "rank": (["--rank=3"], ["--rank=2", "3"], "another --output_dir"),
    "average": (["-use_ema"], ["--use_ema=true", "false"], "another --output_dir"),
    "optimizer": (["--optimizer=lion"], ["--optimizer", "adamw", "lion"], "another --output_dir"),
    "held out": (["--validation_split=0.5"], ["--validation_split=0.3", "0.5"], "another --output_dir"),
    "samples": (["--max_train_samples=2"], ["--max_train_samples", "2"], "another --output_dir"),
    "buckets": (["--bucket", "--bucket_reso_steps=8", "--min_bucket_reso=16"], ["--bucket"], "another --output_dir"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_options_that_changed_are_named(good, whole, tmp_path, case):
    flags, words, hint = CHANGED[case]
    shutil.copytree(whole, tmp_path / "out")
    before = left_in(tmp_path)
    assert hint in check_failed(train(good, tmp_path / "out", *RESUMED, *flags), 2, "checkpoint", *words)
    assert left_in(tmp_path) == before


def test_data_that_changed_is_named(data, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    write_metadata(data, [{"file_name": f"{i}.png", "text": f"picture {i + (i == 1)}"} for i in range(3)])
    assert check_failed(train(data, tmp_path / "out", *RESUMED), 2, "1.png", "caption")
    noise(data / "3.png")
    write_metadata(data, [{"file_name": f"{i}.png", "text": f"picture {i}"} for i in range(4)])
    assert check_failed(train(data, tmp_path / "out", *RESUMED), 2, "3 pictures", "4 now")


def test_a_checkpoint_that_is_not_there(good, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    done = train(good, tmp_path / "out", *RESUMED, "--resume_from_checkpoint=checkpoint-7")
    assert "latest" in check_failed(done, 1, "checkpoint-7", "checkpoint-1")


# Warnings


NO_EFFECT = ["--hub_model_id=owner/name", "--text_encoder_target_modules=q_proj", "--lr_warmup_steps=10", "--keep_tokens=1",
             "--dataset_config_name=en", "--huber_c=0.5", "--multires_noise_discount=0.5", "--ema_decay=0.5",
             "--override=learning_rate", "--bucket_no_upscale"]  # fmt: skip


@pytest.mark.parametrize("flag", NO_EFFECT)
def test_what_has_no_effect_is_said(good, tmp_path, flag):
    done = train(good, tmp_path / "out", flag, "--dry_run")
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and flag.partition("=")[0] in warnings[0] and " no effect " in warnings[0], done.stderr

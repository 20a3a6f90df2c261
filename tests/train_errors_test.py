"""Bad input to `lorikeet train dreambooth`: the exit code, one clear line, a hint, and nothing half-written."""

import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from train_support import BASE, LORA, PROGRAM, ROOT, check_failed, left_in, noise, run_recipe

SUBJECT = ROOT / "examples/demo-subject"


def train(tmp_path, *more, **environment):
    """Two steps on the demo; what `more` says goes before it."""
    flags = {"instance_data_dir": SUBJECT, "instance_prompt": "sks cat face", "resolution": 64,
             "output_dir": tmp_path / "out"}  # fmt: skip
    return run_recipe("dreambooth", flags, more, **environment)


USAGE = {
    "rank 0": (["--rank=0"], ["--rank", "at least 1", "'0'"]),
    "resolution not divisible by 8": (["--resolution=100"], ["--resolution", "multiple of 8", "'100'"]),
    "no batch": (["--train_batch_size=0"], ["--train_batch_size", "at least 1"]),
    "no accumulation": (["--gradient_accumulation_steps=0"], ["--gradient_accumulation_steps"]),
    "no checkpoint interval": (["--checkpointing_steps=0"], ["--checkpointing_steps", "at least 1"]),
    "no checkpoint to keep": (["--checkpoints_total_limit=0"], ["--checkpoints_total_limit"]),
    "no validation interval": (["--validation_epochs=0"], ["--validation_epochs"]),
    "no sample batch": (["--sample_batch_size=0"], ["--sample_batch_size"]),
    "no steps": (["--max_train_steps=0"], ["--max_train_steps", "at least 1"]),
    "no epochs": (["--num_train_epochs=0"], ["--num_train_epochs"]),
    "a rank beyond all": (["--rank=9223372036854775807"], ["--rank", "at most"]),
    "a resolution beyond all": (["--resolution=9223372036854775800"], ["--resolution", "at most"]),
    "epochs that cannot be counted": (["-max_train_steps", "--num_train_epochs=9223372036854775807"],
                                      ["--num_train_epochs"]),
    "negative seed": (["--seed=-1"], ["--seed", "'-1'"]),
    "huge seed": (["--seed=4294967296"], ["--seed", "at most 4294967295"]),
    "infinite rate": (["--learning_rate=inf"], ["--learning_rate", "finite"]),
    "rate that is no number": (["--learning_rate=fast"], ["--learning_rate", "fast"]),
    "polynomial from 0": (["--lr_scheduler=polynomial", "--learning_rate=0"], ["--learning_rate", "polynomial"]),
    "unknown target": (["--target_modules=to_zz"], ["to_zz"]),
    "unknown text target": (["--train_text_encoder", "--text_encoder_target_modules=to_zz"], ["to_zz"]),
    "more tokens than positions": (["--tokenizer_max_length=78"], ["--tokenizer_max_length", "78", "77"]),
    "fp16 on a CPU": (["--mixed_precision=fp16"], ["--mixed_precision=fp16", "CPU"]),
    "no class folder": (["--with_prior_preservation", "--class_prompt=cat"], ["--class_data_dir"]),
    "no class prompt": (["--with_prior_preservation", "--class_data_dir=c"], ["--class_prompt"]),
    "comet_ml": (["--report_to=comet_ml"], ["--report_to=comet_ml", "not available"]),
    "wandb and a token": (["--report_to=wandb", "--hub_token=hf_x"], ["--report_to=wandb", "--hub_token"]),
    "two optimizers": (["--use_8bit_adam", "--optimizer=lion"], ["--use_8bit_adam", "--optimizer=lion"]),
    "start pictures": (["--validation_images=a.png"], ["--validation_images", "DeepFloyd IF"]),
    "class labels": (["--class_labels_conditioning=timesteps"], ["--class_labels_conditioning", "DeepFloyd IF"]),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_flags_exit_2_with_a_hint_and_write_nothing(case, tmp_path):
    flags, words = USAGE[case]
    assert check_failed(train(tmp_path, *flags), 2, *words)
    assert left_in(tmp_path) == []


ENVIRONMENT = {
    "two processes": ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2"),
    "fp8": ({"ACCELERATE_MIXED_PRECISION": "fp8"}, "ACCELERATE_MIXED_PRECISION"),
    "fp16 on a CPU": ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "fp16"),
    "other accumulation": ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS is 4"),
}


@pytest.mark.parametrize("case", ENVIRONMENT)
def test_an_environment_that_cannot_be_honoured_exits_2(case, tmp_path):
    variables, words = ENVIRONMENT[case]
    assert check_failed(train(tmp_path, **variables), 2, words)
    assert left_in(tmp_path) == []


# Models


def test_a_model_folder_that_is_not_there(tmp_path):
    assert check_failed(train(tmp_path, "--pretrained_model_name_or_path=./nowhere"), 1, "there is no folder ./nowhere")
    assert left_in(tmp_path) == []


def test_a_hub_id_that_is_not_in_the_cache_names_the_download(tmp_path):
    (tmp_path / "cache").mkdir()
    done = train(tmp_path, "--pretrained_model_name_or_path=owner/name", HF_HUB_CACHE=str(tmp_path / "cache"),
                 HF_HUB_OFFLINE="1")
    assert "hub download owner/name" in check_failed(done, 1, "owner/name", str(tmp_path / "cache"))
    assert left_in(tmp_path) == ["cache"]


@pytest.fixture
def model(tmp_path):
    """A copy of the base to damage; files are linked until they are rewritten."""
    copy = tmp_path / "model"
    shutil.copytree(BASE, copy, copy_function=os.symlink)

    def rewrite(name, change):
        content = (copy / name).read_bytes()
        (copy / name).unlink()
        if change is not None:
            (copy / name).write_bytes(change(content))
        done = train(tmp_path, f"--pretrained_model_name_or_path={copy}")
        assert not (tmp_path / "out").exists()
        return done

    return rewrite


def test_a_truncated_model_file(model):
    name = "unet/diffusion_pytorch_model.safetensors"
    assert "cut short" in check_failed(model(name, lambda b: b[:-1000]), 1, name, "ends at byte")


def test_a_model_file_that_is_missing(model):
    check_failed(model("vae/diffusion_pytorch_model.safetensors", None), 1, "vae", "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_config_key_that_is_not_known_is_named(model, part):
    def change(content):
        return json.dumps({**json.loads(content), "frobnicate": 3}).encode()

    assert check_failed(model(f"{part}/config.json", change), 1, "frobnicate", "3")


def test_a_config_that_is_no_json(model):
    check_failed(model("unet/config.json", lambda b: b[:100]), 1, "unet/config.json", "JSON")


def test_a_model_that_predicts_the_picture_itself(model):
    def change(content):
        return json.dumps({**json.loads(content), "prediction_type": "sample"}).encode()

    assert check_failed(model("scheduler/scheduler_config.json", change), 1, "prediction_type", "sample")


def test_a_tokenizer_with_more_words_than_the_text_encoder(tmp_path):
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(BASE / "tokenizer", tokenizer)
    vocabulary = json.loads((tokenizer / "vocab.json").read_text())
    word = next(w for w in vocabulary if w == "cat</w>")
    vocabulary[word] = 10**6
    (tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
    done = train(tmp_path, f"--tokenizer_name={tokenizer}", "--instance_prompt=cat")
    assert check_failed(done, 1, "1000000")


def test_a_variant_without_files(tmp_path):
    done = train(tmp_path, "--variant=fp16")
    assert "found model.safetensors" in check_failed(done, 1, "model.fp16.safetensors")
    assert left_in(tmp_path) == []


def test_a_tokenizer_that_is_not_there(tmp_path):
    assert check_failed(train(tmp_path, "--tokenizer_name=owner/tokenizer", HF_HUB_OFFLINE="1"), 1, "owner/tokenizer")
    assert left_in(tmp_path) == []


def test_a_tokenizer_in_the_cache_is_found_by_its_id(tmp_path):
    repository = tmp_path / "cache/models--owner--tokenizer"
    shutil.copytree(BASE / "tokenizer", repository / f"snapshots/{'a' * 40}")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("a" * 40)
    done = train(tmp_path, "--tokenizer_name=owner/tokenizer", "--dry_run", HF_HUB_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr


# Pictures


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def test_an_instance_folder_that_is_not_there(tmp_path):
    assert check_failed(train(tmp_path, f"--instance_data_dir={tmp_path}/none"), 1, "none", "No such file")
    assert left_in(tmp_path) == []


def test_an_empty_instance_folder(tmp_path, pictures):
    assert check_failed(train(tmp_path, f"--instance_data_dir={pictures}"), 1, str(pictures), "empty")
    assert left_in(tmp_path) == ["pictures"]


def test_an_instance_folder_without_pictures_says_what_is_there(tmp_path, pictures):
    (pictures / "notes.txt").write_text("sks")
    (pictures / "fake.jpg").write_text("sks")
    done = train(tmp_path, f"--instance_data_dir={pictures}")
    assert check_failed(done, 1, str(pictures), "fake.jpg, notes.txt")


def test_what_is_no_picture_is_skipped_and_said_once(tmp_path, pictures):
    for name in ("b.png", "a.jpg"):
        noise(pictures / name)
    (pictures / "folder").mkdir()
    (pictures / "notes.txt").write_text("sks")
    (pictures / "nowhere.png").symlink_to(tmp_path / "none")
    done = train(tmp_path, f"--instance_data_dir={pictures}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Skipped, being no pictures: folder notes.txt nowhere.png\n") == 1
    assert "Pictures: 2 of the subject" in done.stderr
    assert (tmp_path / "out" / LORA).exists()


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.webp"])
def test_a_truncated_picture_is_named_before_the_training(tmp_path, pictures, name):
    noise(pictures / "a.png")
    noise(pictures / name)
    content = (pictures / name).read_bytes()
    (pictures / name).write_bytes(content[: len(content) // 2])
    assert check_failed(train(tmp_path, f"--instance_data_dir={pictures}"), 1, str(pictures / name))
    assert not (tmp_path / "out").exists()


def test_a_sliver_that_would_be_stretched_beyond_measure_is_named(tmp_path, pictures):
    noise(pictures / "sliver.png", width=1, height=5000)
    done = train(tmp_path, f"--instance_data_dir={pictures}")
    assert check_failed(done, 1, "sliver.png", "1 x 5000", "320000")


def test_class_folders_that_cannot_be_used(tmp_path, pictures):
    prior = ["--with_prior_preservation", "--class_prompt=cat face", "--num_class_images=1"]
    (tmp_path / "file").write_text("")
    assert check_failed(train(tmp_path, *prior, f"--class_data_dir={tmp_path}/file"), 1, "--class_data_dir", "file")
    (pictures / "notes.txt").write_text("sks")
    assert check_failed(train(tmp_path, *prior, f"--class_data_dir={pictures}"), 1, str(pictures), "notes.txt")
    assert not (tmp_path / "out").exists()


# Output


@pytest.mark.parametrize("more", [[], ["--dry_run"]])
@pytest.mark.parametrize("name", ["file", "file/deeper/out"])
def test_an_output_folder_that_is_a_file_is_told_before_the_work(tmp_path, name, more):
    (tmp_path / "file").write_text("kept")
    done = train(tmp_path, f"--output_dir={tmp_path}/{name}", *more)
    assert check_failed(done, 1, "--output_dir", f"{tmp_path}/file")
    assert "Steps:" not in done.stderr
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc")
def test_an_output_folder_that_cannot_be_made(tmp_path):
    assert check_failed(train(tmp_path, "--output_dir=/proc/lorikeet"), 1, "--output_dir", "/proc/lorikeet")


def test_dry_run_tells_the_plan_and_writes_nothing(tmp_path, pictures):
    noise(pictures / "a.png")
    before = left_in(tmp_path)
    prior = ["--with_prior_preservation", "--class_prompt=cat face", f"--class_data_dir={tmp_path}/class",
             "--num_class_images=3"]  # fmt: skip
    done = train(tmp_path, "--dry_run", f"--instance_data_dir={pictures}", *prior)
    assert done.returncode == 0, done.stderr
    assert "1 of the subject, 3 of the class (3 of them yet to be drawn)" in done.stdout
    assert "Steps: 2 of batch 1" in done.stdout
    assert re.search(r"Trained: [\d,]+ parameters in 56 layers", done.stdout)
    assert re.search(r"Memory: about \d+ MiB", done.stdout)
    assert left_in(tmp_path) == before


@pytest.mark.parametrize("flag", ["train_batch_size", "gradient_accumulation_steps", "checkpointing_steps", "max_train_steps",
                                  "lr_warmup_steps", "validation_epochs", "dataloader_num_workers"])  # fmt: skip
def test_numbers_beyond_all_overflow_nowhere(tmp_path, flag):
    done = train(tmp_path, f"--{flag}=9223372036854775807", "--lr_scheduler=cosine", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "Steps: -" not in done.stdout and ", -" not in done.stdout


def test_dry_run_counts_the_class_pictures_that_are_yet_to_be_drawn(tmp_path):
    prior = ["--with_prior_preservation", "--class_prompt=cat face", f"--class_data_dir={tmp_path}/class",
             "--num_class_images=7", "--train_batch_size=2", "-max_train_steps", "--num_train_epochs=3"]  # fmt: skip
    done = train(tmp_path, "--dry_run", *prior)
    assert "Steps: 12 of batch 2, 3 epochs of 4 batches" in done.stdout, done.stdout + done.stderr


def test_no_validation_pictures_leave_no_folder(tmp_path):
    done = train(tmp_path, "--validation_prompt=cat", "--num_validation_images=0", "--validation_epochs=1")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out/validation").exists()


# Numbers


def generate(tmp_path, lora):
    return subprocess.run([PROGRAM, "generate", f"--pretrained_model_name_or_path={BASE}", "--prompt=cat", "--device=cpu",
                           f"--lora={lora}", "--num_inference_steps=1", "--seed=0", f"--output={tmp_path}/p.png"],
                          capture_output=True, text=True)  # fmt: skip


# The warm-up's first step has a rate of 0, so checkpoint-1 is as good as new, and the third loss is no number.
EXPLODING = ["--learning_rate=1e30", "--lr_scheduler=constant_with_warmup", "--lr_warmup_steps=2", "--max_train_steps=9",
             "--checkpointing_steps=1"]  # fmt: skip


@pytest.mark.parametrize("most", [1, 3])
def test_losses_that_are_no_numbers_end_the_run_and_the_checkpoints_survive(tmp_path, most):
    done = train(tmp_path, *EXPLODING, *([] if most == 3 else [f"--max_nonfinite_steps={most}"]))
    hint = check_failed(done, 1, f"the loss of step {most + 2} is nan (pictures: 0", f"for {most} steps in a row",
                        "checkpoints already written stay")  # fmt: skip
    assert "--learning_rate" in hint
    left_out = re.findall(r"warning: the loss of step (\d) is nan \(pictures: \d\d.png\): the step is left out", done.stderr)
    assert left_out == ["3", "4"][: most - 1]
    out = tmp_path / "out"
    assert not (out / LORA).exists()
    checkpoints = [f"checkpoint-{step}" for step in range(1, most + 2)]
    assert sorted(p.name for p in out.iterdir()) == [*checkpoints, "logs"]
    assert all(np.isfinite(v).all() for name in checkpoints for v in load_file(out / name / LORA).values())
    assert len({(out / name / LORA).read_bytes() for name in checkpoints[1:]}) == 1, "a step left out changed the LoRA"
    assert generate(tmp_path, out / "checkpoint-1").returncode == 0


def test_a_rate_beyond_a_float_is_told(tmp_path):
    assert check_failed(train(tmp_path, "--learning_rate=1e39"), 1, "learning rate", "1e+39")
    assert not (tmp_path / "out" / LORA).exists()


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    # One step, whose loss is still good: no later loss can tell.
    flags = ["--learning_rate=3e37", "--adam_beta1=0", "--adam_weight_decay=1e10", "--max_train_steps=1"]
    hint = check_failed(train(tmp_path, *flags, "--checkpointing_steps=1"), 1, "not finite", "step 1")
    assert "--learning_rate" in hint
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["logs"]


# Warnings


def test_a_prompt_of_too_many_tokens_is_cut_and_said(tmp_path):
    done = train(tmp_path, f"--instance_prompt={'red apple ' * 37}green zebra", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"warning: .*77 tokens.*cut off.*zebra", done.stderr)


NO_EFFECT = ["--hub_model_id=owner/name", "--class_prompt=cat", "--class_data_dir=cats",
             "--text_encoder_target_modules=q_proj", "--lr_warmup_steps=10"]  # fmt: skip


@pytest.mark.parametrize("flag", NO_EFFECT)
def test_what_has_no_effect_is_said(tmp_path, flag):
    done = train(tmp_path, flag, "--dry_run")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"warning: {flag.partition('=')[0]} has no effect", done.stderr)


# Checkpoints


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with a checkpoint in the middle of its epoch, crops pending."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "pictures").mkdir()
    for i in range(4):
        noise(folder / "pictures" / f"{i}.png", width=80 + i)
    done = train(folder, f"--instance_data_dir={folder}/pictures", "--checkpointing_steps=1", "--max_train_steps=1")
    assert done.returncode == 0, done.stderr
    return folder


def resume(whole, tmp_path):
    return train(tmp_path, f"--instance_data_dir={whole}/pictures", "--checkpointing_steps=10", "--max_train_steps=2",
                 "--resume_from_checkpoint=latest")  # fmt: skip


def set_at(*path, value):
    def change(state):
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


STATES = {
    "no object": lambda s: s.clear(),
    "step missing": lambda s: s.pop("step"),
    "step negative": set_at("step", value=-1),
    "step a string": set_at("step", value="1"),
    "step a flag": set_at("step", value=True),
    "step a fraction": set_at("step", value=1.5),
    "step beyond all": set_at("step", value=2**63 - 1),
    "step beyond 64 bits": set_at("step", value=10**30),
    "step a list": set_at("step", value=list(range(100000))),
    "epoch null": set_at("epoch", value=None),
    "in_epoch a number": set_at("in_epoch", value=1),
    "format unknown": set_at("format", value=99),
    "optimizer steps negative": set_at("optimizer", "steps", value=-7),
    "loader null": set_at("loader", value=None),
    "order a string": set_at("loader", "order", value="0123"),
    "order of fractions": set_at("loader", "order", value=[0.5, 1, 2, 3]),
    "order out of range": set_at("loader", "order", value=[0, 1, 2, 4]),
    "order too long": set_at("loader", "order", value=[0] * 200000),
    "order empty": set_at("loader", "order", value=[]),
    "position too far": set_at("loader", "position", value=5),
    "pending a number": set_at("loader", "pending", value=3),
    "pending empty": set_at("loader", "pending", value=[]),
    "pending too long": lambda s: s["loader"]["pending"].append(s["loader"]["pending"][0]),
    "picture that is not there": set_at("loader", "pending", 0, "index", value=4),
    "class picture without classes": set_at("loader", "pending", 0, "set", value=1),
    "mirrored by a number": set_at("loader", "pending", 0, "flip", value=0),
    "caption a number": set_at("loader", "pending", 0, "caption", value=1),
    "optimizer without steps": lambda s: s["optimizer"].pop("steps"),
    "random state of another size": set_at("python_random", value=[0] * 100),
    "random state a text": set_at("python_random", value="0"),
    "steps left out negative": set_at("skipped_in_row", value=-1),
    "best loss a text": set_at("best_validation_loss", value="low"),
    "data set null": set_at("dataset", value=None),
    "data set of numbers": set_at("dataset", value=[1, 2, 3, 4]),
    "crop outside": set_at("loader", "pending", 0, "left", value=79),
    "crop negative": set_at("loader", "pending", 0, "top", value=-1),
    "options a list": set_at("options", value=[]),
}


@pytest.mark.parametrize("case", STATES)
def test_a_damaged_state_is_told_in_one_line(whole, tmp_path, case):
    shutil.copytree(whole / "out", tmp_path / "out")
    file = tmp_path / "out/checkpoint-1/state.json"
    state = json.loads(file.read_text())
    STATES[case](state)
    file.write_text(json.dumps(state))
    before = left_in(tmp_path)
    hint = check_failed(resume(whole, tmp_path), 1, "checkpoint")
    assert len(hint) > 10
    assert left_in(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b"[" * 100000, b'{"step": NaN}'])
def test_a_state_that_is_no_json_object(whole, tmp_path, content):
    shutil.copytree(whole / "out", tmp_path / "out")
    (tmp_path / "out/checkpoint-1/state.json").write_bytes(content)
    check_failed(resume(whole, tmp_path), 1, "state.json")


FACTOR = "lora.unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.down"
TENSORS = {
    "missing": lambda t: t.pop(FACTOR),
    "other shape": lambda t: t.update({FACTOR: t[FACTOR][:1]}),
    "transposed": lambda t: t.update({FACTOR: np.ascontiguousarray(t[FACTOR].T)}),
    "other type": lambda t: t.update({FACTOR: t[FACTOR].astype(np.int64)}),
    "half": lambda t: t.update({FACTOR: t[FACTOR].astype(np.float16)}),
    "moment of another shape": lambda t: t.update({"optimizer.first" + FACTOR[4:]: np.zeros(3, np.float32)}),
    "moment of another type": lambda t: t.update({"optimizer.second" + FACTOR[4:]: t[FACTOR].astype(np.float64)}),
    "generator missing": lambda t: t.pop("generator.cpu"),
    "generator cut short": lambda t: t.update({"generator.cpu": t["generator.cpu"][:100]}),
    "generator of zeros": lambda t: t.update({"generator.cpu": np.zeros_like(t["generator.cpu"])}),
    "generator of ones": lambda t: t.update({"generator.cpu": np.full_like(t["generator.cpu"], 255)}),
    "generator of floats": lambda t: t.update({"generator.cpu": t["generator.cpu"].astype(np.float32)}),
    "generator empty": lambda t: t.update({"generator.device": np.zeros(0, np.uint8)}),
}


@pytest.mark.parametrize("case", TENSORS)
def test_damaged_tensors_are_told_in_one_line(whole, tmp_path, case):
    shutil.copytree(whole / "out", tmp_path / "out")
    file = tmp_path / "out/checkpoint-1/training_state.safetensors"
    tensors = load_file(file)
    TENSORS[case](tensors)
    save_file(tensors, file)
    assert check_failed(resume(whole, tmp_path), 1, "checkpoint")


def test_a_checkpoint_cut_short(whole, tmp_path):
    shutil.copytree(whole / "out", tmp_path / "out")
    file = tmp_path / "out/checkpoint-1/training_state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    check_failed(resume(whole, tmp_path), 1, "training_state.safetensors")


def test_a_checkpoint_that_is_not_there(whole, tmp_path):
    done = train(tmp_path, f"--output_dir={whole}/out", "--resume_from_checkpoint=checkpoint-7")
    assert "latest" in check_failed(done, 1, "checkpoint-7", "there are checkpoint-1")


# LoRA files into `generate`


def header(entries, body=b""):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + body


QUERY = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora"
DOWN = QUERY + ".down.weight"


def one(dtype, shape, offsets):
    return header({DOWN: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, b"\0" * 16)


# What a file's tensors may get wrong is tried in src/lora/lora_test.cpp.
HOSTILE = {
    "empty": b"",
    "no tensors": header({}),
    "header longer than the file": struct.pack("<Q", 2**62),
    "no text": struct.pack("<Q", 8) + b"\xff" * 8,
    "deep JSON": struct.pack("<Q", 200000) + b"[" * 200000,
    "a pickle": b"\x80\x02}q\x00." * 20,
    "shape that overflows": one("F32", [2**33, 2**33], [0, 16]),
    "negative shape": one("F32", [-1, -4], [0, 16]),
    "unknown type": one("F3", [2, 2], [0, 16]),
    "only one half": one("F32", [2, 2], [0, 16]),
    "no numbers": header({DOWN: {"dtype": "I32", "shape": [2, 2], "data_offsets": [0, 16]},
                          QUERY + ".up.weight": {"dtype": "I32", "shape": [2, 2], "data_offsets": [16, 32]}}, b"\0" * 32),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_lora_file_is_told_in_one_line(tmp_path, case):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(HOSTILE[case])
    check_failed(generate(tmp_path, file), 1, "bad.safetensors")
    assert left_in(tmp_path) == ["bad.safetensors"]

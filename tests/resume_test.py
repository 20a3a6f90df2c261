"""A run that was killed, interrupted or starved of disk, and resumed, against one that never stopped."""

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
MIXED = ROOT / "tests/data/dreambooth_traces/pictures"  # not square: every crop is drawn
STEPS = 9


def command(output, *more):
    return [
        PROGRAM, "train", "dreambooth", f"--pretrained_model_name_or_path={ROOT / 'models/lorikeet-base'}",
        f"--instance_data_dir={MIXED}", "--instance_prompt=sks cat face", "--resolution=32", "--rank=2",
        "--train_batch_size=2", "--gradient_accumulation_steps=2", "--learning_rate=1e-3", "--lr_scheduler=cosine",
        "--lr_warmup_steps=2", f"--max_train_steps={STEPS}", "--lora_dropout=0.1", "--seed=3", "--device=cpu",
        "--checkpointing_steps=1", f"--output_dir={output}", *more,
    ]  # fmt: skip


def run(output, *more, **options):
    return subprocess.run(command(output, *more), capture_output=True, text=True, **options)


def lora(output):
    return (Path(output) / "pytorch_lora_weights.safetensors").read_bytes()


def losses(output):
    lines = (Path(output) / "logs/dreambooth-lora.jsonl").read_text().splitlines()
    return [(r["step"], r["loss"], r["lr"]) for r in map(json.loads, lines) if "loss" in r]


def checkpoints(output):
    return sorted(p.name for p in Path(output).glob("checkpoint-*"))


def wait_for(path, process):
    for _ in range(1200):
        if path.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert path.exists(), process.communicate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that never stopped."""
    output = tmp_path_factory.mktemp("whole")
    done = run(output)
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.parametrize("step", [1, 2, 4, 5])  # six pictures are two steps: in the middle of an epoch, and at its end
def test_resumed_from_any_step_is_bit_identical(whole, tmp_path, step):
    (tmp_path / f"checkpoint-{step}").symlink_to(whole / f"checkpoint-{step}")
    done = run(tmp_path, f"--resume_from_checkpoint=checkpoint-{step}")
    assert done.returncode == 0, done.stderr
    assert lora(tmp_path) == lora(whole)
    assert losses(tmp_path) == [line for line in losses(whole)][-len(losses(tmp_path)) :]


PRIOR = ["--with_prior_preservation", "--class_prompt=cat face", f"--class_data_dir={MIXED}", "--num_class_images=5"]


@pytest.mark.parametrize(
    "more", [["--train_text_encoder"], ["--gradient_checkpointing"], ["--mixed_precision=bf16"], PRIOR], ids=lambda more: more[0]
)
def test_killed_and_resumed_is_bit_identical(tmp_path, more):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert run(straight, *more).returncode == 0
    process = subprocess.Popen(command(broken, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(broken / "checkpoint-3" / "state.json", process)
    process.kill()
    process.communicate()
    done = run(broken, *more, "--resume_from_checkpoint=latest")
    assert done.returncode == 0, done.stderr
    assert lora(broken) == lora(straight)
    assert losses(broken) == losses(straight)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_writes_a_checkpoint_and_goes_on_from_it(whole, tmp_path, number):
    slow = ["--checkpointing_steps=500"]  # so that the only checkpoint is the interruption's own
    process = subprocess.Popen(command(tmp_path, *slow), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "logs/dreambooth-lora.jsonl", process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "--resume_from_checkpoint=latest" in said
    assert len(checkpoints(tmp_path)) == 1
    assert run(tmp_path, *slow, "--resume_from_checkpoint=latest").returncode == 0
    assert lora(tmp_path) == lora(whole)


def test_checkpoints_are_limited_and_loadable(tmp_path):
    done = run(tmp_path, "--checkpointing_steps=2", "--checkpoints_total_limit=2")
    assert done.returncode == 0, done.stderr
    assert checkpoints(tmp_path) == ["checkpoint-6", "checkpoint-8"]
    assert not list(tmp_path.glob(".checkpoint*"))
    from safetensors.numpy import load_file

    saved = load_file(tmp_path / "checkpoint-8/pytorch_lora_weights.safetensors")
    assert saved and all(name.startswith("unet.") and ".lora." in name for name in saved)


def test_latest_without_a_checkpoint_starts_anew_and_says_so(whole, tmp_path):
    done = run(tmp_path, "--resume_from_checkpoint=latest")
    assert done.returncode == 0 and "new run starts" in done.stderr
    assert lora(tmp_path) == lora(whole)


def test_named_checkpoint_that_is_missing_is_an_error(tmp_path):
    done = run(tmp_path, "--resume_from_checkpoint=checkpoint-77")
    assert done.returncode == 1
    assert "checkpoint-77" in done.stderr and "hint:" in done.stderr


@pytest.mark.parametrize("changed", ["--rank=3", "--seed=4", "--train_batch_size=1", "--instance_prompt=another"])
def test_options_that_change_the_run_are_refused(whole, tmp_path, changed):
    (tmp_path / "checkpoint-4").symlink_to(whole / "checkpoint-4")
    done = run(tmp_path, "--resume_from_checkpoint=latest", changed)
    assert done.returncode != 0
    assert changed[2:].split("=")[0] in done.stderr, done.stderr


def test_damaged_checkpoint_is_named(whole, tmp_path):
    folder = tmp_path / "checkpoint-4"
    folder.mkdir()
    for file in (whole / "checkpoint-4").iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[:-100] if file.suffix == ".safetensors" else file.read_bytes())
    done = run(tmp_path, "--resume_from_checkpoint=latest")
    assert done.returncode == 1
    assert "training_state.safetensors" in done.stderr


def test_full_disk_at_a_checkpoint_keeps_the_last_good_one(whole, tmp_path):
    smallest = min(f.stat().st_size for f in (whole / "checkpoint-2").glob("*.safetensors"))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (smallest // 2, smallest // 2))

    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}").mkdir()
        for file in (whole / f"checkpoint-{step}").iterdir():
            (tmp_path / f"checkpoint-{step}" / file.name).write_bytes(file.read_bytes())
    done = run(tmp_path, "--resume_from_checkpoint=latest", "--checkpoints_total_limit=1", preexec_fn=limit)
    assert done.returncode == 1
    assert "checkpoint-3" in done.stderr and "hint:" in done.stderr
    assert checkpoints(tmp_path) == ["checkpoint-1", "checkpoint-2"]
    assert run(tmp_path, "--resume_from_checkpoint=latest").returncode == 0
    assert lora(tmp_path) == lora(whole)

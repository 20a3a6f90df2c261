"""What the tests share that run `lorikeet train` and look at what it says and leaves behind."""

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
BASE = ROOT / "models/lorikeet-base"
LORA = "pytorch_lora_weights.safetensors"
SHARED = {
    "pretrained_model_name_or_path": BASE, "train_batch_size": 1, "max_train_steps": 2, "lr_warmup_steps": 0, "rank": 2,
    "seed": 0, "report_to": "jsonl", "device": "cpu",
}  # fmt: skip


def words_of(recipe, flags, more=()):
    """The command: `flags` over SHARED; words of `more` go before both, and "-name" takes a flag away."""
    flags, name = {**SHARED, **flags}, ""
    for word in more:
        if not word.startswith("-"):
            flags[name] = [*(flags[name] or []), word]
            continue
        name, _, value = word.lstrip("-").partition("=")
        flags.pop(name, None)
        if word.startswith("--"):
            flags[name] = value if "=" in word else None
    words = [PROGRAM, "train", recipe]
    for name, value in flags.items():
        if isinstance(value, list):
            words += [f"--{name}", *value]
        else:
            words.append(f"--{name}" if value is None else f"--{name}={value}")
    return words


def run_recipe(recipe, flags, more=(), **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ACCELERATE_", "HF_", "WANDB_")) and k != "WORLD_SIZE"}
    return subprocess.run(words_of(recipe, flags, more), capture_output=True, text=True, timeout=60,
                          env={**clean, **environment})  # fmt: skip


def check_failed(done, code, *words):
    """`code`, and one line that begins with the program's name and holds all of `words`; then at most a hint."""
    assert done.returncode == code, done.stderr
    errors = re.findall(r"^lorikeet: error: (.*)$", done.stderr, re.MULTILINE)
    assert len(errors) == 1, done.stderr
    for word in words:
        assert word in errors[0], errors[0]
    after = done.stderr[done.stderr.index("lorikeet: error:") :].splitlines()[1:]
    assert len(after) <= 1 and all(line.startswith("  hint: ") for line in after), done.stderr
    assert "frame #" not in done.stderr and "Exception raised" not in done.stderr
    return after[0] if after else ""


def left_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def noise(path, width=80, height=64, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def records(output_dir, project="text2image-fine-tune"):
    """The run's own log."""
    return [json.loads(line) for line in (Path(output_dir) / f"logs/{project}.jsonl").read_text().splitlines()]


def column(output_dir, key, *project):
    """All that was logged as `key`, with every bit of it."""
    return [record[key] for record in records(output_dir, *project) if key in record]


def lora_bytes(output_dir):
    return (Path(output_dir) / LORA).read_bytes()


class Run:
    """A run that succeeded: what it said and left behind."""

    def __init__(self, recipe, flags, more, **environment):
        self.folder = Path(flags["output_dir"])
        done = run_recipe(recipe, flags, more, **environment)
        assert done.returncode == 0, done.stderr
        self.said, self.printed = done.stderr, done.stdout

    @property
    def losses(self):
        return column(self.folder, "train_loss")

    @property
    def lora(self):
        return load_file(self.folder / LORA)

    @property
    def bits(self):
        """All numbers of a run."""
        return self.losses, lora_bytes(self.folder)

    def state(self, step):
        return json.loads((self.folder / f"checkpoint-{step}/state.json").read_text())

    def tensors(self, step, kind):
        """A checkpoint's tensors of one kind, under the names they have in a LoRA file."""
        every = load_file(self.folder / f"checkpoint-{step}/training_state.safetensors")
        found = {name.removeprefix(kind + "."): value for name, value in every.items() if name.startswith(kind + ".")}
        return {re.sub(r"\.(down|up)$", r".lora.\1.weight", name): value for name, value in found.items()}


def values(lora, which):
    """All down, or all up matrices as one row."""
    return np.concatenate([value.ravel() for name, value in sorted(lora.items()) if f".{which}.weight" in name])

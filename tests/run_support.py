"""What the tests share that break runs of `lorikeet train text-to-image` off and resume them."""

import json
import os
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
BASE = ROOT / "models/lorikeet-base"
PICTURES = ROOT / "tests/data/text_to_image_traces/pictures"  # of many shapes and formats: every crop is drawn
LORA = "pytorch_lora_weights.safetensors"
PATIENCE = 60  # seconds for what takes less than one on an idle machine


def caption_lists(folder):
    """A data set of ten mixed pictures, with lists of captions of which one is picked each time. Three steps an epoch."""
    folder.mkdir(parents=True)
    lines = []
    for i, picture in enumerate(sorted(p for p in PICTURES.iterdir() if p.suffix != ".jsonl")):
        (folder / picture.name).write_bytes(picture.read_bytes())
        lines.append({"file_name": picture.name, "text": [f"picture {i}, caption {k}" for k in range(1 + i % 3)]})
    write_metadata(folder, lines)
    return folder


def read_metadata(folder):
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def write_metadata(folder, lines):
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def text_to_image(data, output, *more):
    """The command of a small run; what `more` says goes before it."""
    flags = {
        "pretrained_model_name_or_path": BASE, "train_data_dir": data, "resolution": 32, "random_flip": None, "rank": 1,
        "train_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 1e-3, "lr_scheduler": "cosine",
        "lr_warmup_steps": 0, "lora_dropout": 0.1, "seed": 3, "device": "cpu", "report_to": "jsonl",
        "checkpointing_steps": 1, "max_train_steps": 8, "output_dir": output,
    }  # fmt: skip
    for flag in more:
        name, _, value = flag.removeprefix("--").partition("=")
        flags[name] = value if "=" in flag else None
    words = [f"--{name}" if value is None else f"--{name}={value}" for name, value in flags.items()]
    return [PROGRAM, "train", "text-to-image", *words]


def run(command, code=0, **options):
    """What it showed on standard error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)
    assert done.returncode == code, done.stderr[-3000:]
    return done.stderr


def start(command, **options):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def end(process):
    """Waits for it; what it showed on standard error."""
    return process.communicate(timeout=PATIENCE)[1].decode(errors="replace")


def wait_for(found, process, pause=1e-3):
    """Until `found()`; false when the process ends first."""
    ends = time.monotonic() + PATIENCE
    while not found():
        if process.poll() is not None:
            return bool(found())
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(pause)
    return True


def lora(output):
    return (output / LORA).read_bytes()


def log_lines(output):
    """The run's own log without times, and without the options that each start notes."""
    (file,) = (file for file in (output / "logs").glob("*.jsonl") if ".previous" not in file.name)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time"} for line in lines if "config" not in line]


def assert_same_result(output, whole):
    assert log_lines(output) == log_lines(whole)
    assert lora(output) == lora(whole)
    if (whole / "best").exists():
        assert lora(output / "best") == lora(whole / "best")


def step_of(folder):
    return int(folder.name.rpartition("-")[2])


def checkpoints(output):
    """Those that `latest` chooses from, lowest step first."""
    return sorted(output.glob("checkpoint-*"), key=step_of)


def state(checkpoint):
    """Its state.json, without the options that a resumed run is given differently."""
    values = json.loads((checkpoint / "state.json").read_text())
    for name in ("output_dir", "resume_from_checkpoint", "checkpoints_total_limit", "train_data_dir", "cache_dir"):
        values["options"].pop(name, None)
    return values


def assert_checkpoints_whole(output, whole):
    """Each is, byte for byte, what the unbroken run wrote at that step."""
    for folder in checkpoints(output):
        twin = whole / folder.name
        assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in twin.iterdir())
        for file in (LORA, "training_state.safetensors"):
            assert (folder / file).read_bytes() == (twin / file).read_bytes(), f"{folder.name}/{file}"
        assert state(folder) == state(twin), folder.name

#!/usr/bin/env python3
"""Time and peak memory of starting up, beside the Python peers. Protocol: benchmarks/README.md."""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = "models/lorikeet-base"
TRAINING = [f"--pretrained_model_name_or_path={BASE}", "--instance_data_dir=examples/demo-subject",
            "--instance_prompt=sks cat face", "--resolution=64", "--train_batch_size=4", "--learning_rate=1e-3",
            "--lr_scheduler=constant", "--lr_warmup_steps=0", "--max_train_steps=1", "--rank=8", "--seed=0"]


def commands(program, python, scratch):
    """(what, command) pairs; those of the peers only where their venv is there."""
    yield "lorikeet --help", [program, "--help"]
    yield "lorikeet train dreambooth, one step, LoRA saved", [
        program, "train", "dreambooth", *TRAINING, "--device=cpu", f"--output_dir={scratch}/ours"]
    yield "lorikeet generate, one picture of 1 step", [
        program, "generate", f"--pretrained_model_name_or_path={BASE}", "--prompt=red apple", "--num_inference_steps=1",
        "--seed=0", "--device=cpu", f"--output={scratch}/apple.png"]
    if not python.exists():
        return
    yield "Python: import torch", [python, "-c", "import torch"]
    yield "Python: import the pipeline and PEFT", [python, "-c", "import peft; from diffusers import StableDiffusionPipeline"]
    yield "Python: reference trainer, one step, LoRA saved", [
        python, "tools/reference/dreambooth_trainer.py", f"{scratch}/trace.json", *TRAINING, f"--output_dir={scratch}/peer"]


def measure(command):
    """Seconds and peak MiB of one run; stops at the first failure."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=output, stderr=output,
                                   stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{command[0]} failed:\n{output.read().decode(errors='replace')[-2000:]}")
    return seconds, usage.ru_maxrss / 1024


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--program", default=str(ROOT / "build/lorikeet"))
    parser.add_argument("--python", default=str(ROOT / ".venv-parity/bin/python"), help="Python of the peers")
    arguments = parser.parse_args()

    print(f"{processor()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.2f}, "
          f"median of {arguments.repeats} (range) after one unmeasured run\n")
    print("| | seconds | peak MiB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for what, command in commands(arguments.program, Path(arguments.python), scratch):
            measure(command)
            seconds, memory = zip(*(measure(command) for _ in range(arguments.repeats)))
            print(f"| {what} | {statistics.median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f}) "
                  f"| {max(memory):.0f} |", flush=True)


if __name__ == "__main__":
    main()

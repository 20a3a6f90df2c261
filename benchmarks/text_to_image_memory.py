#!/usr/bin/env python3
"""Time and peak memory of `lorikeet train text-to-image` over large data sets. Protocol: benchmarks/README.md.

Two data sets of noise, which no codec makes smaller, are written into --scratch (9 GB are needed there) and deleted again:
a folder of 10,000 small JPEGs with captions, and 3 GB of JPEGs of 1 MB in a Parquet file. Each is looked over (--dry_run) and
trained on for one epoch, from the copy out of Parquet that the look made; a hundredth of it goes before, to show what grows with
the data. One run each. The memory of a phase is the kernel's high-water mark of the process at its end, so it never falls.
"""

import argparse
import io
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from startup import BASE, ROOT, processor

PHASES = ["Reading Parquet", "Checking pictures", "Encoding captions", "Steps"]
LARGE_SIDE, GROUP = 920, 100  # noise of 920 x 920 pixels makes a JPEG of 1 MB; rows of a row group
FLAGS = [f"--pretrained_model_name_or_path={BASE}", "--random_flip", "--rank=1", "--train_batch_size=16",
         "--num_train_epochs=1", "--learning_rate=1e-4", "--lr_warmup_steps=0", "--seed=0", "--device=cpu", "--report_to=jsonl"]


def jpeg(random, width, height, quality):
    out = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def write_folder(folder, count):
    random = np.random.default_rng(0)
    folder.mkdir()
    with open(folder / "metadata.jsonl", "w") as metadata:
        for i in range(count):
            width, height = (int(side) for side in random.integers(64, 201, 2))
            (folder / f"{i:05}.jpg").write_bytes(jpeg(random, width, height, 75))
            metadata.write(json.dumps({"file_name": f"{i:05}.jpg", "text": f"noise, the picture of number {i}"}) + "\n")


def write_parquet(folder, count):
    random = np.random.default_rng(0)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", kind), ("text", pa.string())])
    folder.mkdir()
    with pq.ParquetWriter(folder / "train-00000-of-00001.parquet", schema, compression="none") as writer:
        for first in range(0, count, GROUP):
            numbers = range(first, min(first + GROUP, count))
            pictures = [{"bytes": jpeg(random, LARGE_SIDE, LARGE_SIDE, 95), "path": f"{i}.jpg"} for i in numbers]
            texts = [f"noise, the picture of number {i}" for i in numbers]
            writer.write_table(pa.table([pa.array(pictures, kind), pa.array(texts)], schema=schema), row_group_size=GROUP)


def write_elsewhere(write, *arguments):
    """In a process of its own: a child's peak memory counts from what its parent held when it was started."""
    process = multiprocessing.get_context("spawn").Process(target=write, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit("the data set could not be written")


class Run:
    """One run of the program: what it said, when its phases began, and how much memory it had had by their end."""

    def __init__(self, command):
        self.began, self.peak_by, self.said = {}, {}, ""
        self.start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        reader = threading.Thread(target=self.read, args=(process.stdout,))
        reader.start()
        self.watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        self.seconds, self.peak = time.perf_counter() - self.start, usage.ru_maxrss / 1024
        reader.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{self.said[-3000:]}")
        self.peak_by[self.phase()] = self.peak

    def read(self, pipe):
        while text := pipe.read1(65536).decode(errors="replace"):
            self.said += text
            for phase in PHASES:
                if phase not in self.began and re.search(rf"{phase}: +\d+%", self.said):
                    self.began[phase] = time.perf_counter()

    def phase(self):
        return next((phase for phase in reversed(PHASES) if phase in self.began), "start")

    def watch(self, pid):
        """Until it has ended and waits to be asked for."""
        while True:
            status = Path(f"/proc/{pid}/status").read_text()
            if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
                self.peak_by[self.phase()] = int(peak[1]) / 1024
            if re.search(r"State:\s+Z", status):
                return
            time.sleep(0.02)

    def row(self, name):
        ends = [*(self.began[phase] for phase in PHASES if phase in self.began), self.start + self.seconds]
        cells = []
        for phase in PHASES:
            begin = self.began.get(phase)
            end = min((time for time in ends if begin is not None and time > begin), default=None)
            cells.append("" if begin is None else f"{end - begin:.1f} s, {self.peak_by.get(phase, self.peak):.0f}")
        return f"| {name} | {' | '.join(cells)} | {self.seconds:.1f} s, {self.peak:.0f} |"


def measure(name, program, more, folder, output):
    command = [program, "train", "text-to-image", *FLAGS, *more, f"--train_data_dir={folder}", f"--output_dir={output}"]
    print(Run([*command, "--dry_run"]).row(f"{name}, look only"), flush=True)
    print(Run(command).row(f"{name}, one epoch"), flush=True)
    shutil.rmtree(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default=str(ROOT / "build/lorikeet"))
    parser.add_argument("--scratch", help="folder for the data sets; a temporary one when not given")
    parser.add_argument("--pictures", type=int, default=10_000, help="in the folder")
    parser.add_argument("--gigabytes", type=float, default=3, help="in the Parquet file")
    parser.add_argument("--resolution", type=int, default=64)
    arguments = parser.parse_args()

    print(f"{processor()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.2f}, OMP_NUM_THREADS="
          f"{os.environ.get('OMP_NUM_THREADS')}, --resolution={arguments.resolution}; files in the page cache; one run each; seconds, peak MiB\n")
    print(f"| | {' | '.join(PHASES)} | whole run |\n|---|{'---|' * len(PHASES)}---|")
    rows = int(arguments.gigabytes * 1000)
    for what, write, count in [("small JPEGs with captions", write_folder, arguments.pictures),
                               ("JPEGs of 1 MB in Parquet", write_parquet, rows)]:
        scratch = Path(tempfile.mkdtemp(dir=arguments.scratch))
        try:
            for part in (count // 100, count) if count else ():
                folder = scratch / str(part)
                write_elsewhere(write, folder, part)
                size = sum(file.stat().st_size for file in folder.iterdir()) / 1e9
                name = f"{part:,} {what} ({size:.2f} GB)"
                measure(name, arguments.program, [f"--resolution={arguments.resolution}"], folder, scratch / "out")
                shutil.rmtree(folder)
        finally:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Time and peak memory of opening a large Parquet data set, beside Hugging Face datasets. Protocol: benchmarks/README.md.

Each case writes a data set of random bytes as pictures into --scratch (its size twice is needed there), opens it in a new
process, then once more with the copy that the first made, and deletes both.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from startup import ROOT, processor

PICTURE = 300_000  # bytes each, as a photo of 512 x 512 pixels takes in good JPEG
# How many bytes of pictures a row group holds (all of them where None), and how values are written. A page holds what the
# writer looks at in one go: up to 1024 rows.
CASES = {
    "as datasets writes it: row groups of 100 MB, not compressed": (100_000_000, "none"),
    "as pandas writes it: one row group, pages of 1024 rows, snappy": (None, "snappy"),
}
PEER = "import sys; from datasets import load_dataset; " \
       "print(len(load_dataset('parquet', data_files=sys.argv[1], cache_dir=sys.argv[2], split='train')))"


def rows_of(random, first, count):
    """`count` rows as a table, its bytes without a Python object each."""
    offsets = np.arange(count + 1, dtype=np.int32) * PICTURE
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(random.bytes(count * PICTURE))]
    pictures = pa.Array.from_buffers(pa.binary(), count, buffers)
    names = pa.array([f"{first + i}.jpg" for i in range(count)])
    texts = [f"picture number {first + i}" for i in range(count)]
    return pa.table({"image": pa.StructArray.from_arrays([pictures, names], ["bytes", "path"]), "text": texts})


def write(path, rows, group_bytes, compression):
    random = np.random.default_rng(0)
    in_group = max(1, group_bytes // PICTURE) if group_bytes else rows
    with pq.ParquetWriter(path, rows_of(random, 0, 1).schema, use_dictionary=["text"], compression=compression) as writer:
        for begin in range(0, rows, in_group):
            end = min(begin + in_group, rows)
            parts = [rows_of(random, first, min(1024, end - first)) for first in range(begin, end, 1024)]
            writer.write_table(pa.concat_tables(parts), row_group_size=in_group)


def write_elsewhere(*arguments):
    """In a process of its own: a child's peak memory counts from what its parent held when it was started."""
    process = multiprocessing.get_context("spawn").Process(target=write, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit("the data set could not be written")


def measure(command, text=""):
    """Seconds, peak MiB, exit code and output of one run."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=output, stderr=output)
        process.stdin.write(text.encode())
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    return seconds, usage.ru_maxrss / 1024, process.returncode, said


def ours(tool, file, cache, rows):
    request = json.dumps({"files": [str(file)], "cache": str(cache), "list": False}) + "\n"
    for what in ("first opening", "second opening"):
        seconds, memory, code, said = measure([tool], request)
        if code or json.loads(said).get("records") != rows:
            sys.exit(f"expected {rows} records: {said[-2000:]}")
        print(f"| ours, {what} | {seconds:.2f} | {memory:.0f} |", flush=True)


def peer(python, file, cache, rows):
    for what in ("first opening", "second opening"):
        seconds, memory, code, said = measure([python, "-c", PEER, file, cache])
        if code:
            print(f"| datasets, {what}: {said.strip().splitlines()[-1]} | {seconds:.2f} | {memory:.0f} |", flush=True)
            return
        if said.split()[-1] != str(rows):
            sys.exit(f"expected {rows} rows: {said[-2000:]}")
        print(f"| datasets, {what} | {seconds:.2f} | {memory:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=3)
    parser.add_argument("--scratch", help="folder for the data sets; a temporary one when not given")
    parser.add_argument("--tool", default=str(ROOT / "build/parquet_tool"))
    parser.add_argument("--python", default=str(ROOT / ".venv-parity/bin/python"), help="Python of the peer")
    arguments = parser.parse_args()

    print(f"{processor()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.2f}; "
          f"{arguments.gigabytes:g} GB of pictures of {PICTURE} bytes; files in the page cache; one run each")
    rows = int(arguments.gigabytes * 1e9) // PICTURE
    for name, case in CASES.items():
        scratch = Path(tempfile.mkdtemp(dir=arguments.scratch))
        try:
            file = scratch / "train.parquet"
            write_elsewhere(file, rows, *case)
            print(f"\n{name}: {file.stat().st_size / 1e9:.2f} GB\n\n| | seconds | peak MiB |\n|---|---|---|")
            ours(arguments.tool, file, scratch / "ours", rows)
            shutil.rmtree(scratch / "ours")
            if Path(arguments.python).exists():
                peer(arguments.python, file, scratch / "peer", rows)
        finally:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()

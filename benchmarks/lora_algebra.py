#!/usr/bin/env python3
"""Time and peak memory of the LoRA workbench on a model of SD 1.5's shapes, beside exact SVDs. Protocol: benchmarks/README.md.

Writes two models of random weights into --scratch (8 GB): the tuned one differs from its base by a falling spectrum over
noise. Extracts a LoRA, then resizes, merges and compares what came out. The peer takes the difference of each layer with
torch.linalg.svd, as extraction scripts do, where `.venv-parity` is present; its approximation is the best there is.
"""

import argparse
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from startup import ROOT, measure, processor

STEMS = {"unet": "diffusion_pytorch_model", "text_encoder": "model"}
PEER = """
import sys, torch
from safetensors import safe_open
base, tuned, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
lost = whole = 0.0
for part in ("unet/diffusion_pytorch_model", "text_encoder/model"):
    a, b = (safe_open(f"{folder}/{part}.safetensors", "pt") for folder in (base, tuned))
    for name in a.keys():
        if len(a.get_slice(name).get_shape()) < 2 or "embeddings" in name:
            continue
        difference = (b.get_tensor(name).float() - a.get_tensor(name).float()).flatten(1)
        u, s, vh = torch.linalg.svd(difference, full_matrices=False)
        up, down = u[:, :rank] * s[:rank], vh[:rank]
        squares = s.double().square()
        whole += squares.sum().item()
        lost += squares[rank:].sum().item()
print("error", (lost / whole) ** 0.5)
"""


def write_models(scratch, dtype, seed=0):
    random = np.random.default_rng(seed)
    normal = lambda *shape: random.standard_normal(shape, dtype=np.float32)
    for part, stem in STEMS.items():
        base, tuned = {}, {}
        for line in (ROOT / f"tests/data/keys_sd15_{part}.txt").read_text().splitlines():
            name, shape = line.split("\t")
            shape = [int(size) for size in shape.strip("[]").split("x")]
            weight = normal(*shape) * 0.02
            difference = normal(*shape) * 5e-5
            if len(shape) > 1:
                columns = int(np.prod(shape[1:]))
                rank = min(64, shape[0], columns)
                signal = (normal(shape[0], rank) * 0.9 ** np.arange(rank, dtype=np.float32)) @ normal(rank, columns)
                difference += 1e-4 * signal.reshape(shape)
            base[name], tuned[name] = weight.astype(dtype), (weight + difference).astype(dtype)
        for model, tensors in (("base", base), ("tuned", tuned)):
            folder = scratch / model / part
            folder.mkdir(parents=True)
            save_file(tensors, folder / f"{stem}.safetensors", metadata={"format": "pt"})
            shutil.copy(ROOT / "models/lorikeet-base" / part / "config.json", folder)
            shutil.copy(ROOT / "models/lorikeet-base/model_index.json", scratch / model)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    parser.add_argument("--scratch", default=None)
    parser.add_argument("--program", default=str(ROOT / "build/lorikeet"))
    parser.add_argument("--python", default=str(ROOT / ".venv-parity/bin/python"), help="Python of the peer")
    arguments = parser.parse_args()
    print(f"{processor()}, {len(os.sched_getaffinity(0))} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}, "
          f"load {os.getloadavg()[0]:.2f}, {arguments.dtype} models, rank {arguments.rank}\n")
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        scratch = Path(scratch)
        # A process of its own: what is started later would inherit the peak of this one.
        writer = multiprocessing.Process(target=write_models, args=(scratch, arguments.dtype))
        writer.start()
        writer.join()
        program, lora = arguments.program, scratch / "lora.safetensors"
        small = scratch / "small.safetensors"
        steps = [
            ("lora extract", ["extract", f"--tuned={scratch}/tuned", f"--base={scratch}/base", f"--rank={arguments.rank}",
                              "-o", lora]),
            ("lora resize --rank=8", ["resize", lora, "--rank=8", "-o", small]),
            ("lora resize --keep_energy=0.95", ["resize", lora, "--keep_energy=0.95", "-o", scratch / "c.safetensors"]),
            ("lora merge, concat", ["merge", f"{lora}:0.5", f"{small}:0.5", "-o", scratch / "d.safetensors"]),
            ("lora merge, svd, rank 16", ["merge", f"{lora}:0.5", f"{small}:0.5", "--method=svd", "--rank=16",
                                          "-o", scratch / "e.safetensors"]),
            ("lora diff", ["diff", lora, small]),
        ]
        print("| | seconds | peak MiB |\n|---|---|---|")
        for what, command in steps:
            seconds, memory = measure([program, "lora", *command])
            print(f"| {what} | {seconds:.1f} | {memory:.0f} |", flush=True)
        if Path(arguments.python).exists():
            seconds, memory = measure([arguments.python, "-c", PEER, scratch / "base", scratch / "tuned", arguments.rank])
            print(f"| Python: exact SVD of each layer | {seconds:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()

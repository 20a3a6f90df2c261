"""Writes tests/data/torch_files/: files that torch.save and accelerate's save_state write, and what is in them.

    .venv-parity/bin/python tools/reference/torch_files.py
"""

import collections
import hashlib
import json
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parents[2] / "tests/data/torch_files"
STEP = 7


def values():
    """One of everything the reader takes."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
    ordered = collections.OrderedDict([("b", 1), ("a", 2)])
    shared = [1, 2]
    return {
        "none": None, "yes": True, "no": False, "int": -3, "big": 2**62 + 1, "small": -2**63, "float": 0.1, "inf": float("inf"),
        "text": "ünï 🦜", "long text": "x" * 300, "bytes": b"\x00\xff\x80a", "no bytes": b"", "list": [1, [2, []], (3, 4, 5, 6)],
        "tuples": ((), (1,), (1, 2), (1, 2, 3)), "set": {1, 2, 3}, "ordered": ordered, 5: "five", "shared": (shared, shared),
        "default": collections.defaultdict(dict, {"k": {"v": 1}}), "size": torch.Size([2, 3]), "dtype": torch.bfloat16,
        "device": torch.device("cuda:1"), "contiguous": base, "view": base[1:3, ::2], "transposed": base.t(),
        "scalar": torch.tensor(2.5), "empty": torch.empty(0, 3), "parameter": torch.nn.Parameter(base[0].clone()),
        "bools": torch.tensor([True, False]), "longs": torch.tensor([-1, 2**40]), "halfs": torch.tensor([1.5], dtype=torch.float16),
        "brains": torch.tensor([1.5, -2], dtype=torch.bfloat16), "complex": torch.tensor([1 + 2j]),
        "words": torch.tensor([1, 2**32 - 1], dtype=torch.uint32), "eights": torch.tensor([1.5], dtype=torch.float8_e4m3fn),
        "array": np.arange(6, dtype=np.int16).reshape(2, 3), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big endian": np.array([1, 2], dtype=">u4"), "flags": np.array([True, False]), "np float": np.float64(0.25),
        "np int": np.int32(-9), "np bool": np.bool_(True),
    }


def described(value):
    """JSON of what the reader should give."""
    if isinstance(value, torch.Tensor):
        name = str(value.dtype).removeprefix("torch.")
        flat = value.detach().reshape(-1)
        flat = torch.view_as_real(flat).reshape(-1) if value.is_complex() else flat
        return {"dtype": name, "shape": list(value.shape), "values": [float(v) for v in flat]}
    if isinstance(value, np.ndarray):
        return described(torch.from_numpy(np.ascontiguousarray(value.astype(value.dtype.newbyteorder("=")))))
    return value


def sha256(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def checkpoint(folder):
    """What Diffusers' training scripts write at a step: accelerate's state and the LoRA."""
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False), torch.nn.Linear(2, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-2, eps=1e-7)
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=2, num_training_steps=20)
    model, optimizer, schedule = accelerator.prepare(model, optimizer, schedule)
    for _ in range(STEP):
        model(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    accelerator.save_state(folder, safe_serialization=True)
    for extra in folder.iterdir():  # the scripts' hooks keep models out, and write the LoRA instead
        if extra.name.startswith("model"):
            extra.unlink()
    save_file({"unet.x.lora_A.weight": torch.ones(1, 2)}, folder / "pytorch_lora_weights.safetensors")
    # save_state writes this under fp16 on a GPU: the state of torch.amp.GradScaler after a bad step and 3 good ones.
    scaler = {"scale": 32768.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 3}
    torch.save(scaler, folder / "scaler.pt")
    moments = [{name: described(tensor) for name, tensor in state.items()} for state in optimizer.state_dict()["state"].values()]
    return {"moments": moments, "lr": schedule.get_last_lr()[0], "random": sha256(np.array(random.getstate()[1], "<u4")),
            "numpy": sha256(np.array([*np.random.get_state()[1], np.random.get_state()[2]], "<u4")),
            "torch": sha256(torch.get_rng_state().numpy()), "names": sorted(path.name for path in folder.iterdir())}


def deflated(path):
    with zipfile.ZipFile(OUT / "values.pt") as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    torch.save(values(), OUT / "values.pt")
    deflated(OUT / "values-deflated.pt")
    torch.save({"a": torch.ones(2)}, OUT / "legacy.pt", _use_new_zipfile_serialization=False)
    tensors = {name: described(value) for name, value in values().items() if isinstance(value, (torch.Tensor, np.ndarray))}
    expected = {"torch": torch.__version__, "numpy": np.__version__, "tensors": tensors,
                "checkpoint": checkpoint(OUT / f"checkpoint-{STEP}")}
    (OUT / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

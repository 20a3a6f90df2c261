"""How a trace of one of Diffusers' training scripts is made, held against our reference trainer and written."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file
from training_scenarios import diffusers_spelling

LOSS_TOLERANCE = 1e-6
PACKAGES = ["torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "numpy", "pillow"]
SCRIPT_COMMIT = "huggingface/diffusers 58eb52c0"


def run(program, trace, flags, **variables):
    """Runs a Python `program` on one thread; returns the JSON it leaves in `trace`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **variables}
    words = [sys.executable, *map(str, program), str(trace), *flags]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{program[0]} failed\n{done.stderr[-3000:]}")
    return json.loads(pathlib.Path(trace).read_text())


def trained(folder):
    weights = load_file(pathlib.Path(folder) / "pytorch_lora_weights.safetensors")
    named = {diffusers_spelling(name): value.float() for name, value in weights.items()}
    return {name: named[name] for name in sorted(named)}


def row(weights, which):
    end = ".magnitude" if which == "magnitude" else f".{which}.weight"
    return torch.cat([value.flatten() for name, value in weights.items() if end in name])


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def largest_difference(name, ours, theirs, key):
    """The largest relative difference of `key` over two logs of records that must be equal in all else."""
    for our, their in zip(ours, theirs, strict=True):
        if {**our, key: None} != {**their, key: None}:
            raise SystemExit(f"{name}: {our} is not {their}")
    return max(abs(our[key] - their[key]) / their[key] for our, their in zip(ours, theirs, strict=True))


def agreement(name, loss_difference, ours, theirs):
    """Prints how far the reference trainer's log and weights are from the script's, and stops when it is too far."""
    if ours.keys() != theirs.keys():
        raise SystemExit(f"{name}: other keys: {sorted(ours.keys() ^ theirs.keys())}")
    up_difference = relative(row(ours, "up"), row(theirs, "up"))
    print(f"{name:28} loss differs by {loss_difference:.1e}, up matrices by {up_difference:.1e}", flush=True)
    if loss_difference > LOSS_TOLERANCE:
        raise SystemExit(f"{name}: the reference trainer does not reproduce the script")
    return {"loss_difference": loss_difference, "up_difference": up_difference}


def provenance(name, flags, made_by, packages=()):
    return {
        "scenario": name,
        "flags": flags,
        "made_by": made_by,
        "versions": {package: importlib.metadata.version(package) for package in [*PACKAGES, *packages]},
        "script_commit": SCRIPT_COMMIT,
    }


def write_trace(folder, trace, weights):
    """SCENARIO.json, one line per entry, and SCENARIO.safetensors: the up matrices (and DoRA's lengths) in one row, by name."""
    trace["down_norms"] = [float(value.norm()) for key, value in weights.items() if ".down.weight" in key]
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in trace.items()]
    (folder / f"{trace['scenario']}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    rows = ["up", *(["magnitude"] if any(name.endswith(".magnitude") for name in weights) else [])]
    save_file({which: row(weights, which) for which in rows}, folder / f"{trace['scenario']}.safetensors")


def key_contract(weights):
    """Every key and shape, in our spelling: the text encoder's always with `text_model.`."""
    spelled = {
        name.replace("text_encoder.", "text_encoder.text_model.", 1): "x".join(map(str, value.shape))
        for name, value in weights.items()
    }
    return "".join(f"{name} {spelled[name]}\n" for name in sorted(spelled))

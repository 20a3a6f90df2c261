"""Runs Diffusers' script and our reference trainer on every scenario, holds them together and writes the traces.

    OMP_NUM_THREADS=1 python tools/reference/dreambooth_traces.py SCRIPT [SCENARIO...]

SCRIPT is examples/dreambooth/train_dreambooth_lora.py of diffusers 58eb52c0, which is not in this repository. Made with
torch 2.11.0 (CPU), torchvision 0.26.0, diffusers 0.42.1, transformers 5.23.0, peft 0.21.2, accelerate 1.15.0.
Writes tests/data/dreambooth_traces/SCENARIO.json, SCENARIO.safetensors (the script's trained up matrices, all in one row, in
the order of their sorted names) and lora_keys.txt; stops when the two programs disagree.
"""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from dreambooth_scenarios import SCENARIOS, TRACES, Workspace
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
LOSS_TOLERANCE = 1e-6
PACKAGES = ["torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "numpy", "pillow"]


def run(program, trace, flags):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *program, str(trace), *flags], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{program[0]} failed\n{done.stderr[-3000:]}")
    return json.loads(pathlib.Path(trace).read_text())


def trained(folder):
    weights = load_file(pathlib.Path(folder) / "pytorch_lora_weights.safetensors")
    return {name: weights[name].float() for name in sorted(weights)}


def row(weights, which):
    return torch.cat([value.flatten() for name, value in weights.items() if f".{which}.weight" in name])


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def key_contract(weights):
    """Every key and shape of a run with rank 1 on UNet and text encoder, in our spelling: always with `text_model.`."""
    spelled = {
        name.replace("text_encoder.", "text_encoder.text_model.", 1): "x".join(map(str, value.shape))
        for name, value in weights.items()
    }
    return "".join(f"{name} {spelled[name]}\n" for name in sorted(spelled))


def record(name, script, workspace):
    folder = workspace.folder
    scripts, ours = folder / f"script-{name}", folder / f"ours-{name}"
    theirs_log = run([str(HERE / "dreambooth_record.py"), script], folder / "a.json", workspace.command(name, scripts))
    our_log = run([str(HERE / "dreambooth_trainer.py")], folder / "b.json", workspace.command(name, ours))
    assert [(s["step"], s["lr"]) for s in theirs_log] == [(s["step"], s["lr"]) for s in our_log], name
    loss_difference = max(abs(a["loss"] - b["loss"]) / a["loss"] for a, b in zip(theirs_log, our_log, strict=True))
    theirs, our = trained(scripts), trained(ours)
    assert theirs.keys() == our.keys(), name
    up_difference = relative(row(our, "up"), row(theirs, "up"))
    print(f"{name:28} {len(our_log):3} steps, loss differs by {loss_difference:.1e}, up matrices by {up_difference:.1e}")
    if loss_difference > LOSS_TOLERANCE:
        raise SystemExit(f"{name}: the reference trainer does not reproduce the script")

    trace = {
        "scenario": name,
        "flags": SCENARIOS[name].command({key: f"{{{key}}}" for key in workspace.places} | {"output": "{output}"}, "{output}"),
        "made_by": f"python tools/reference/dreambooth_traces.py train_dreambooth_lora.py {name}",
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "script_commit": "huggingface/diffusers 58eb52c0",
        "loss_difference": loss_difference,
        "up_difference": up_difference,
        "script": theirs_log,
        "reference_trainer": our_log,
        "down_norms": [float(value.norm()) for key, value in theirs.items() if ".down.weight" in key],
    }
    if name == "class_generation":
        made = sorted(pathlib.Path(f"{scripts}-pixels").iterdir())
        assert [p.name for p in made] == [p.name for p in sorted(pathlib.Path(f"{ours}-pixels").iterdir())]
        trace["class_pictures"] = [path.stem for path in made]
        for i, path in enumerate(made):
            (TRACES / f"class_picture_{i}.png").write_bytes(path.read_bytes())
    if name == "text_encoder":
        (TRACES / "lora_keys.txt").write_text(key_contract(theirs))
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in trace.items()]
    (TRACES / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    save_file({"up": row(theirs, "up")}, TRACES / f"{name}.safetensors")


def main():
    script, *names = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        for name in names or SCENARIOS:
            record(name, script, workspace)


if __name__ == "__main__":
    main()

"""Traces of LyCORIS' and PEFT's own layers: what they draw, what they give, and what a few steps make of them.

Makes tests/data/lora_algorithms.json and .safetensors, which src/lora/initial_values_test.cpp follows. With torch 2.11.0,
peft 0.21.2 and lycoris-lora 4.1.3:

    OMP_NUM_THREADS=1 .venv-parity/bin/python tools/reference/lora_algorithms.py

Every case adapts one small layer, seeded, and takes four steps of plain gradient descent on a mean square. LyCORIS starts
all changes from zero, so that some gradients are zero at first: four steps see all of them.
"""

import importlib.metadata
import json
import pathlib

import torch
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

DATA = pathlib.Path(__file__).parents[2] / "tests" / "data"
SEED, STEPS = 5, 4
LYCORIS = {"locon": LoConModule, "loha": LohaModule, "lokr": LokrModule}
ROLES = {"lora_down.weight": "down", "lora_up.weight": "up", "lora_A.default.weight": "down", "lora_B.default.weight": "up",
         "lora_magnitude_vector.default.weight": "magnitude"}  # fmt: skip

CASES = [  # algorithm, layer, rank, alpha, what else
    ("locon", "linear", 2, 1.0, {}),
    ("locon", "conv", 3, 3.0, {}),
    ("loha", "linear", 2, 1.0, {}),
    ("loha", "conv", 2, 3.0, {"rank_stabilized": True}),
    ("lokr", "linear", 2, 1.0, {}),
    ("lokr", "linear", 4, 1.0, {}),  # both factors whole: a strength of 1 whatever alpha
    ("lokr", "linear", 1, 0.5, {"lokr_factor": 2}),
    ("lokr", "conv", 1, 0.5, {"rank_stabilized": True}),
    ("lokr", "conv", 2, 5.0, {}),
    ("dora", "linear", 2, 4.0, {}),
    ("dora", "conv", 2, 1.0, {}),
    ("dora", "linear", 3, 3.0, {"dropout": 0.3}),
    ("dora", "conv", 3, 3.0, {"dropout": 0.3}),
    ("lora", "conv", 2, 4.0, {"dropout": 0.3}),
    ("pissa", "linear", 2, 4.0, {}),
    ("pissa", "linear", 3, 1.5, {"rank_stabilized": True, "dropout": 0.3}),
]


def numbers(*shape, seed):
    i = torch.arange(torch.Size(shape).numel())
    return (((i * 7919 + seed * 104729) % 2003 - 1001).float() / 1001).reshape(shape)


def base_layer(kind):
    layer = nn.Linear(12, 20) if kind == "linear" else nn.Conv2d(6, 8, 3, stride=2, padding=1)
    layer.weight.data = numbers(*layer.weight.shape, seed=1) / 2
    layer.bias.data = numbers(*layer.bias.shape, seed=2)
    layer.requires_grad_(False)
    return layer


def data(kind):
    """Inputs and what to learn."""
    if kind == "linear":
        return numbers(5, 12, seed=3), numbers(5, 20, seed=4)
    return numbers(2, 6, 7, 7, seed=3), numbers(2, 8, 4, 4, seed=4)


def lycoris_layer(algorithm, layer, rank, alpha, more):
    torch.manual_seed(SEED)
    adapter = LYCORIS[algorithm](
        "layer", layer, 1.0, rank, alpha, rs_lora=more.get("rank_stabilized", False), factor=more.get("lokr_factor", -1)
    )
    return adapter, dict(adapter.named_parameters())


def peft_layer(algorithm, layer, rank, alpha, more):
    torch.manual_seed(SEED)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=more.get("dropout", 0.0),
        use_rslora=more.get("rank_stabilized", False),
        use_dora=algorithm == "dora",
        init_lora_weights="pissa" if algorithm == "pissa" else "gaussian",
        target_modules=["0"],
    )
    model = get_peft_model(nn.Sequential(layer), config).train()
    return model, {name.split("model.0.")[-1]: p for name, p in model.named_parameters() if p.requires_grad}


def role(name):
    return ROLES.get(name, name.removeprefix("hada_").removeprefix("lokr_"))


def copies(parameters):
    """Factors by role; lengths in the shape that spreads over the weight, one for each output."""
    found = {}
    for name, value in parameters.items():
        value = value.detach().clone()
        if role(name) == "magnitude":
            value = value.reshape(-1, 1) if value.dim() == 1 else value.reshape(-1, 1, 1, 1)
        found[role(name)] = value.contiguous()
    return found


def trace(index, algorithm, kind, rank, alpha, more):
    layer = base_layer(kind)
    make = lycoris_layer if algorithm in LYCORIS else peft_layer
    model, parameters = make(algorithm, layer, rank, alpha, more)
    tensors = {f"{index}.first.{name}": value for name, value in copies(parameters).items()}
    inputs, target = data(kind)
    losses, rate = [], 0.1 if algorithm in ("lora", "loha", "pissa") else 0.5
    for _ in range(STEPS):
        loss = (model(inputs) - target).square().mean()
        losses.append(loss.item())
        for parameter, gradient in zip(parameters.values(), torch.autograd.grad(loss, parameters.values()), strict=True):
            parameter.data -= rate * gradient
    tensors.update({f"{index}.last.{name}": value for name, value in copies(parameters).items()})
    assert all(abs(loss / losses[0] - 1) > 1e-4 for loss in losses[1:])
    case = {"algorithm": algorithm, "layer": kind, "rank": rank, "alpha": alpha, "rate": rate, "losses": losses, **more}
    return case, tensors


def main():
    cases, tensors = [], {}
    for index, case in enumerate(CASES):
        described, values = trace(index, *case)
        cases.append(described)
        tensors.update(values)
        print(described)
    for kind in ("linear", "conv"):
        layer, (inputs, target) = base_layer(kind), data(kind)
        parts = {"weight": layer.weight.data, "bias": layer.bias.data, "inputs": inputs, "target": target}
        tensors.update({f"{kind}.{name}": value for name, value in parts.items()})
    versions = {name: importlib.metadata.version(name) for name in ("torch", "peft", "lycoris-lora")}
    made = {"made_by": "python tools/reference/lora_algorithms.py", "versions": versions, "seed": SEED, "cases": cases}
    (DATA / "lora_algorithms.json").write_text(json.dumps(made, indent=1) + "\n")
    save_file(tensors, DATA / "lora_algorithms.safetensors")


if __name__ == "__main__":
    main()

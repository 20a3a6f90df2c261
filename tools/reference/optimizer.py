"""Makes tests/data/optimizer_reference.json: AdamW and learning-rate schedules as Python computes them.

Versions: torch 2.11.0, diffusers 0.42.1.  Command: python tools/reference/optimizer.py
"""
import json
import pathlib

import torch
from diffusers.optimization import get_scheduler


def adamw_trace():
    parameter = torch.nn.Parameter(torch.linspace(-1, 1, 5))
    optimizer = torch.optim.AdamW([parameter], lr=0.05, betas=(0.8, 0.95), weight_decay=0.1, eps=1e-6)
    values, norms = [], []
    for step in range(6):
        parameter.grad = torch.cos(torch.arange(5.0) + step) * (step + 1)
        norms.append(torch.nn.utils.clip_grad_norm_([parameter], 3.0).item())
        optimizer.step()
        values.append(parameter.tolist())
    return {"values": values, "norms": norms}


def schedule_trace(name, warmup, total, cycles, power, base):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=total, num_cycles=cycles, power=power
    )
    rates = []
    for _ in range(total + 3):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return {"name": name, "warmup": warmup, "total": total, "cycles": cycles, "power": power, "base": base, "rates": rates}


def main():
    schedules = []
    for name in ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"]:
        for warmup, cycles, power in [(0, 1, 1.0), (3, 1, 1.0), (4, 3, 2.0)]:
            schedules.append(schedule_trace(name, warmup, 12, cycles, power, 1e-3))
    path = pathlib.Path(__file__).parents[2] / "tests" / "data" / "optimizer_reference.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"adamw": adamw_trace(), "schedules": schedules}, indent=None) + "\n")


main()

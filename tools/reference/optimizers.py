"""Traces of the reference optimizers and learning-rate schedules, for src/training/*_test.cpp to follow.

Makes tests/data/optimizer_traces.safetensors (all optimizers on four small tensors) and
tests/data/optimizer_reference.json (AdamW with clipping, learning-rate schedules). Versions:
scripts/requirements/parity.txt. Command:

    OMP_NUM_THREADS=1 .venv-parity/bin/python tools/reference/optimizers.py

The oracles are the packages themselves, on the CPU. One thing is exchanged: bitsandbytes' compiled CPU quantizer looks
codes up on a linear grid of 65536 values between -1 and 1, which is coarser than the map is near zero (a second moment
below 1.5e-5 of its block's largest becomes zero). Its CUDA kernel and its portable backend take the nearest code. The
trace is what people run, so AdamW8bit runs here with the portable backend's quantizer.
"""

import json
import pathlib

import bitsandbytes
import bitsandbytes.backends.cpu.ops as bitsandbytes_cpu
import prodigyopt
import schedulefree
import torch
from bitsandbytes.functional import create_dynamic_map
from diffusers.optimization import get_scheduler
from lion_pytorch import Lion
from safetensors.torch import save_file
from transformers.optimization import Adafactor

DATA = pathlib.Path(__file__).parents[2] / "tests" / "data"
# "up" starts at zero, as in a LoRA; "down" is large enough for 8 bits and ends with a part of a block.
SHAPES = {"bias": [5], "up": [3, 7], "conv": [4, 2, 3, 3], "down": [72, 60]}
SAMPLE_STRIDE = 29  # of "down", of which a trace keeps every 29th value
RATE_FACTORS = [0, 0.25, 0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def start(index, shape):
    i = torch.arange(torch.Size(shape).numel())
    return (((i * 37 + index * 11) % 101 - 50).float() / 500 * (index != 1)).reshape(shape)


def gradient(index, shape, step):
    """A direction and noise, over a range of magnitudes, with a block of zeros."""
    i = torch.arange(torch.Size(shape).numel())
    noise = ((i * 7919 + step * 104729 + index * 1299709) % 2003 - 1001).float() / 1001
    direction = ((i * 31 + index * 17) % 7 - 3).float() / 3
    magnitude = torch.ldexp(torch.ones(i.shape), -((i * 5) % 13)) * ((i < 1024) | (i >= 1280))
    return ((noise * 0.5 + direction) * magnitude).reshape(shape)


def nearest_code(values, code, absmax_out, codes_out, blocksize):
    # A device that bitsandbytes does not know gets the portable kernel, which runs on any tensor.
    portable = torch.library.get_kernel("bitsandbytes::quantize_blockwise", "PrivateUse1")
    codes, absmax = portable.call_boxed(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), values, code, blocksize)
    codes_out.copy_(codes)
    absmax_out.copy_(absmax)


def adamw(parameters, rate, beta1, beta2, weight_decay, epsilon):
    return torch.optim.AdamW(parameters, lr=rate, betas=(beta1, beta2), weight_decay=weight_decay, eps=epsilon)


def adamw8bit(parameters, rate, beta1, beta2, weight_decay, epsilon):
    bitsandbytes_cpu._quant_blockwise_fp32_direct = nearest_code
    return bitsandbytes.optim.AdamW8bit(
        parameters, lr=rate, betas=(beta1, beta2), weight_decay=weight_decay, eps=epsilon
    )


def adafactor(parameters, rate, weight_decay):
    return Adafactor(
        parameters, lr=rate, weight_decay=weight_decay, scale_parameter=False, relative_step=False, warmup_init=False
    )


def lion(parameters, rate, beta1, beta2, weight_decay):
    return Lion(parameters, lr=rate, betas=(beta1, beta2), weight_decay=weight_decay)


def prodigy(parameters, rate, beta1, beta2, weight_decay, epsilon, **more):
    return prodigyopt.Prodigy(
        parameters, lr=rate, betas=(beta1, beta2), weight_decay=weight_decay, eps=epsilon, **more
    )


def schedule_free(parameters, rate, beta1, beta2, weight_decay, epsilon):
    optimizer = schedulefree.AdamWScheduleFree(
        parameters, lr=rate, betas=(beta1, beta2), weight_decay=weight_decay, eps=epsilon
    )
    optimizer.train()
    return optimizer


USUAL = dict(beta1=0.9, beta2=0.99, weight_decay=0.1, epsilon=1e-6)
TRACES = [
    ("adamw", "adamw", adamw, 1e-2, USUAL),
    ("adamw8bit", "adamw8bit", adamw8bit, 1e-2, USUAL),
    ("adafactor", "adafactor", adafactor, 1e-2, dict(weight_decay=0.1)),
    ("lion", "lion", lion, 1e-3, dict(beta1=0.8, beta2=0.95, weight_decay=0.1)),
    ("prodigy", "prodigy", prodigy, 1.0, dict(beta1=0.9, beta2=0.999, weight_decay=0.0, epsilon=1e-8)),
    ("prodigy_options", "prodigy", prodigy, 1.0,
     dict(USUAL, d_coef=2.0, safeguard_warmup=True, use_bias_correction=True)),
    ("schedulefree", "schedulefree", schedule_free, 1e-2, USUAL),
]  # fmt: skip


def sampled(name, value):
    flat = value.detach().flatten().clone()
    return flat[::SAMPLE_STRIDE].contiguous() if name == "down" else flat


def trace(name, make, base, options, tensors):
    parameters = [torch.nn.Parameter(start(i, shape)) for i, shape in enumerate(SHAPES.values())]
    optimizer = make(parameters, base, **options)
    values = {parameter: [] for parameter in SHAPES}
    estimates = []
    for step, factor in enumerate(RATE_FACTORS):
        for group in optimizer.param_groups:
            group["lr"] = base * factor
        for index, (parameter, shape) in enumerate(SHAPES.items()):
            parameters[index].grad = gradient(index, shape, step)
        optimizer.step()
        for index, parameter in enumerate(SHAPES):
            values[parameter].append(sampled(parameter, parameters[index]))
        estimates.append(optimizer.param_groups[0].get("d", 0.0))
    for parameter, steps in values.items():
        tensors[f"{name}.{parameter}"] = torch.stack(steps)
    if name.startswith("prodigy"):
        tensors[f"{name}.d"] = torch.tensor(estimates, dtype=torch.float64)
    if name == "schedulefree":
        optimizer.eval()
        for index, parameter in enumerate(SHAPES):
            tensors[f"{name}.{parameter}.averaged"] = sampled(parameter, parameters[index])
    if name == "adamw8bit":
        state = optimizer.state[parameters[3]]
        tensors.update(
            {f"{name}.down.{key}": state[key].clone() for key in ["state1", "state2", "absmax1", "absmax2"]}
        )


def optimizer_traces():
    tensors = {"map.signed": create_dynamic_map(signed=True), "map.unsigned": create_dynamic_map(signed=False)}
    described = []
    for name, optimizer, make, base, options in TRACES:
        trace(name, make, base, options, tensors)
        described.append({"trace": name, "optimizer": optimizer, "rate": base, "options": options})
    # One entry: the library writes several in any order.
    metadata = {"made_with": json.dumps({"rate_factors": RATE_FACTORS, "traces": described})}
    save_file(tensors, DATA / "optimizer_traces.safetensors", metadata=metadata)


def clipped_adamw_trace():
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
    optimizer_traces()
    schedules = []
    for name in ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"]:
        for warmup, cycles, power in [(0, 1, 1.0), (3, 1, 1.0), (4, 3, 2.0)]:
            schedules.append(schedule_trace(name, warmup, 12, cycles, power, 1e-3))
    reference = {"adamw": clipped_adamw_trace(), "schedules": schedules}
    (DATA / "optimizer_reference.json").write_text(json.dumps(reference, indent=None) + "\n")


main()

"""Trajectories of Diffusers' schedulers around a tiny stand-in for a model, for src/schedulers/schedulers_test.cpp.

Made with torch 2.11.0 (CPU), numpy 2.4.6, diffusers 0.42.1:

    python tools/reference/schedulers.py tests/data/schedulers.json

A case names a saved scheduler config and what to do with it; src/schedulers/scheduler_cases.cpp does the same in C++.
tests/parity/schedulers_test.py runs many more cases live.
"""

import itertools
import json
import math
import sys

import diffusers
import torch

CLASSES = {
    "pndm": diffusers.PNDMScheduler,
    "ddim": diffusers.DDIMScheduler,
    "ddpm": diffusers.DDPMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_a": diffusers.EulerAncestralDiscreteScheduler,
    "dpmsolver++": diffusers.DPMSolverMultistepScheduler,
}
SHAPE = (2, 4, 1, 2)
STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def saved_config(name, **values):
    """What `save_config` writes for a scheduler made with these values; infinities as strings."""
    text = CLASSES[name](**values).to_json_string().replace("-Infinity", '"-Infinity"')
    return json.loads(text)


def case(name, steps, load_as=None, seed=0, dtype="float32", options=None, **values):
    """One run; `load_as` is the class to load another class's config into."""
    values = {**STABLE_DIFFUSION, **values}
    # A whole file where it travels to another class, else the defaults are left to each side.
    config = saved_config(name, **values) if load_as else {"_class_name": CLASSES[name].__name__, **values}
    made = {"config": config, "steps": steps}
    made |= {"seed": seed, "dtype": dtype, "options": options or {}}
    return made | ({"name": load_as} if load_as else {})


def make(one):
    config = {key: float("-inf") if value == "-Infinity" else value for key, value in one["config"].items()}
    by_class = {kind.__name__: kind for kind in CLASSES.values()}
    kind = CLASSES[one["name"]] if "name" in one else by_class[config["_class_name"]]
    return kind.from_config(config)


def model(sample, t):
    """Stands in for the UNet: the same few operations in Python and C++."""
    x = sample.to(torch.float32)
    return (x * (0.3 * math.cos(t / 1000)) + torch.sin(x * 3.0 + t / 1000) * 0.1).to(sample.dtype)


def run(one):
    """The timesteps, and the samples after each step as float32 lists."""
    scheduler = make(one)
    scheduler.set_timesteps(one["steps"])
    generator = torch.Generator().manual_seed(one["seed"])
    dtype = getattr(torch, one["dtype"])
    sample = torch.randn(SHAPE, generator=generator).to(dtype) * scheduler.init_noise_sigma
    # As the pipeline does: a scheduler gets the arguments that it has.
    options = {k: v for k, v in one["options"].items() if k in scheduler.step.__code__.co_varnames}
    if not isinstance(scheduler, diffusers.PNDMScheduler):
        options["generator"] = generator
    samples = []
    for t in scheduler.timesteps:
        output = model(scheduler.scale_model_input(sample, t), t.item())
        sample = scheduler.step(output, t, sample, **options).prev_sample
        samples.append(sample.to(torch.float32).flatten().tolist())
    return {
        "timesteps": scheduler.timesteps.tolist(),
        "init_noise_sigma": float(scheduler.init_noise_sigma),
        "samples": samples,
        "next_random": torch.randn((), generator=generator).item(),
    }


def noise(one):
    """add_noise, and get_velocity where the class has it, at one["timesteps"]."""
    scheduler = make(one)
    if one["steps"]:
        scheduler.set_timesteps(one["steps"])
    generator = torch.Generator().manual_seed(one["seed"])
    dtype = getattr(torch, one["dtype"])
    x0, fresh = (torch.randn(SHAPE, generator=generator).to(dtype) for _ in range(2))
    timesteps = scheduler.timesteps[one["timestep_indices"]] if one["steps"] else torch.tensor(one["timesteps"])
    result = {"noisy": scheduler.add_noise(x0, fresh, timesteps).to(torch.float32).flatten().tolist()}
    if isinstance(scheduler, (diffusers.DDPMScheduler, diffusers.DDIMScheduler)):
        result["velocity"] = scheduler.get_velocity(x0, fresh, timesteps).to(torch.float32).flatten().tolist()
    return result


def committed_cases():
    yield from pndm_cases()
    yield from ddim_cases()
    yield from ddpm_cases()
    yield from euler_cases()
    yield from dpmsolver_cases()
    for saved, loaded in itertools.permutations(CLASSES, 2):
        yield case(saved, 10, load_as=loaded, steps_offset=1)
    for name in CLASSES:
        for dtype in ("bfloat16", "float16"):
            yield case(name, 10, dtype=dtype, **({"skip_prk_steps": True} if name == "pndm" else {}))


def pndm_cases():
    for spacing, offset in (("leading", 1), ("linspace", 0), ("trailing", 0)):
        for skip in (True, False):
            yield case("pndm", 25, skip_prk_steps=skip, timestep_spacing=spacing, steps_offset=offset)
    yield case("pndm", 10, skip_prk_steps=True, prediction_type="v_prediction", set_alpha_to_one=True)
    yield case("pndm", 10, prediction_type="v_prediction", beta_schedule="squaredcos_cap_v2")
    for steps in (1, 2, 3):
        yield case("pndm", steps, skip_prk_steps=True, steps_offset=1)
    yield case("pndm", 4)


def ddim_cases():
    for spacing, offset in (("leading", 1), ("linspace", 0), ("trailing", 0)):
        yield case("ddim", 25, timestep_spacing=spacing, steps_offset=offset, clip_sample=False)
    for prediction in ("v_prediction", "sample"):
        yield case("ddim", 10, prediction_type=prediction, set_alpha_to_one=False)
    yield case("ddim", 10, options={"eta": 1.0}, beta_schedule="linear")
    yield case("ddim", 10, options={"eta": 0.5, "use_clipped_model_output": True}, clip_sample_range=2.0)
    yield case("ddim", 10, thresholding=True, sample_max_value=1.5)
    yield case(
        "ddim", 10, rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"
    )
    yield case("ddim", 10, trained_betas=[0.001 * (1 + i) for i in range(50)], num_train_timesteps=50)


def ddpm_cases():
    for spacing in ("leading", "linspace", "trailing"):
        yield case("ddpm", 25, timestep_spacing=spacing)
    for variance in ("fixed_small_log", "fixed_large"):
        yield case("ddpm", 10, variance_type=variance, clip_sample=False)
    for prediction in ("v_prediction", "sample"):
        yield case("ddpm", 10, prediction_type=prediction, thresholding=True)
    for schedule in ("squaredcos_cap_v2", "laplace", "sigmoid", "linear"):
        yield case("ddpm", 10, beta_schedule=schedule, clip_sample_range=1.5)
    yield case(
        "ddpm", 10, rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"
    )


def euler_cases():
    for name in ("euler", "euler_a"):
        for spacing, offset in (("leading", 1), ("linspace", 0), ("trailing", 0)):
            yield case(name, 25, timestep_spacing=spacing, steps_offset=offset)
        yield case(name, 10, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    yield case("euler", 10, prediction_type="sample")
    yield case("euler", 10, options={"s_churn": 5.0, "s_tmin": 0.1, "s_tmax": 10.0, "s_noise": 1.1})
    yield case("euler", 10, use_karras_sigmas=True, final_sigmas_type="sigma_min")
    yield case("euler", 10, use_karras_sigmas=True, sigma_min=0.03, sigma_max=12.0)
    yield case("euler", 10, use_exponential_sigmas=True)
    yield case("euler", 10, interpolation_type="log_linear")
    yield case("euler", 10, timestep_type="continuous", prediction_type="v_prediction")


def dpmsolver_cases():
    name = "dpmsolver++"
    for spacing, offset in (("leading", 1), ("linspace", 0), ("trailing", 0)):
        yield case(name, 25, timestep_spacing=spacing, steps_offset=offset, use_karras_sigmas=False)
    for steps in (10, 25):
        yield case(name, steps, use_karras_sigmas=True)
    for algorithm, final in (
        ("dpmsolver++", "zero"),
        ("sde-dpmsolver++", "zero"),
        ("dpmsolver", "sigma_min"),
        ("sde-dpmsolver", "sigma_min"),
    ):
        for order, solver in ((1, "midpoint"), (2, "midpoint"), (2, "heun"), (3, "midpoint")):
            if (algorithm, order) != ("sde-dpmsolver", 3):
                shared = {"algorithm_type": algorithm, "final_sigmas_type": final, "solver_type": solver}
                yield case(name, 16, solver_order=order, **shared)
    for prediction in ("v_prediction", "sample"):
        yield case(name, 10, prediction_type=prediction, thresholding=True)
        shared = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
        yield case(name, 10, prediction_type=prediction, thresholding=True, **shared)
    yield case(name, 10, lower_order_final=False, final_sigmas_type="sigma_min", solver_order=3)
    yield case(name, 25, euler_at_final=True, final_sigmas_type="sigma_min", use_karras_sigmas=True)
    yield case(name, 10, use_lu_lambdas=True)
    yield case(name, 10, use_exponential_sigmas=True)
    yield case(name, 10, beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1, use_karras_sigmas=False)
    yield case(name, 10, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")


def noise_cases():
    for dtype in ("float32", "bfloat16", "float16"):
        for name in ("ddpm", "ddim", "pndm"):
            made = {**case(name, 0, seed=1), "dtype": dtype}
            yield made | {"timesteps": [3, 801]}
            yield made | {"timesteps": [999]}
        for name in ("euler", "euler_a", "dpmsolver++"):
            made = {**case(name, 10, seed=1), "dtype": dtype}
            yield made | {"timestep_indices": [0, 7]}
            yield made | {"timestep_indices": [9]}


def summary(result):
    """Small enough to commit: the last sample whole, of the others one weighted sum each."""
    weights = [math.cos(i) for i in range(math.prod(SHAPE))]
    sums = [sum(w * x for w, x in zip(weights, sample, strict=True)) for sample in result["samples"]]
    last = [float(f"{x:.8g}") for x in result["samples"][-1]]
    return {**result, "samples": None, "sums": [float(f"{x:.8g}") for x in sums], "last": last}


def main(path):
    runs = [{**one, "expected": summary(run(one))} for one in committed_cases()]
    for one in runs:
        del one["expected"]["samples"]
        assert all(map(math.isfinite, one["expected"]["last"])), one
    noises = [{**one, "expected": noise(one)} for one in noise_cases()]
    for one in noises:
        one["expected"] = {key: [float(f"{x:.8g}") for x in values] for key, values in one["expected"].items()}
    lines = {"runs": runs, "noises": noises}
    with open(path, "w") as file:
        parts = [
            f'"{key}": [\n' + ",\n".join(json.dumps(one, separators=(",", ":")) for one in cases) + "\n]"
            for key, cases in lines.items()
        ]
        file.write("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])

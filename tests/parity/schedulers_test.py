"""Whole trajectories of every scheduler beside Diffusers, over the product of their options."""

import itertools
import json
import math
import os
import subprocess
import warnings
from pathlib import Path

import pytest
import schedulers as reference

warnings.filterwarnings("ignore", category=FutureWarning)
PROGRAM = Path(os.environ.get("LORIKEET_PROGRAM", Path(__file__).resolve().parents[2] / "build/lorikeet"))
SPACINGS = (("leading", 1), ("linspace", 0), ("trailing", 0))
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
STEPS = (1, 7, 20, 50)
# Two units in the last place: where a value lies on the edge, rounding may tip either way.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2**-7, "float16": 2**-10}


def product(name, steps=STEPS, **options):
    """A case for each combination of option values and step count; spacing and its offset go together."""
    keys = list(options)
    for values in itertools.product(steps, SPACINGS, *options.values()):
        count, (spacing, offset), *rest = values
        chosen = dict(zip(keys, rest, strict=True))
        step_options = chosen.pop("options", {})
        dtype = chosen.pop("dtype", "float32")
        yield reference.case(
            name, count, dtype=dtype, options=step_options, timestep_spacing=spacing, steps_offset=offset, **chosen
        )


def pndm():
    predictions = ("epsilon", "v_prediction")
    yield from product("pndm", skip_prk_steps=(True,), set_alpha_to_one=(True, False), prediction_type=predictions)
    yield from product("pndm", (4, 7, 25), skip_prk_steps=(False,), prediction_type=predictions)
    yield from product("pndm", (10,), skip_prk_steps=(True,), beta_schedule=SCHEDULES)


def ddim():
    predictions = ("epsilon", "v_prediction", "sample")
    etas = ({}, {"eta": 0.7}, {"eta": 1.0, "use_clipped_model_output": True})
    yield from product("ddim", prediction_type=predictions, set_alpha_to_one=(True, False), options=etas)
    yield from product("ddim", (10,), clip_sample=(True, False), thresholding=(True, False), beta_schedule=SCHEDULES)
    yield from product("ddim", (10,), rescale_betas_zero_snr=(True,), prediction_type=predictions[1:])
    yield from product("ddim", (10,), num_train_timesteps=(10, 100, 777))


def ddpm():
    predictions = ("epsilon", "v_prediction", "sample")
    yield from product(
        "ddpm", prediction_type=predictions, variance_type=("fixed_small", "fixed_small_log", "fixed_large")
    )
    yield from product("ddpm", (10,), beta_schedule=(*SCHEDULES, "laplace", "sigmoid"), clip_sample=(True, False))
    yield from product("ddpm", (10,), rescale_betas_zero_snr=(True,), prediction_type=predictions[1:])
    yield from product("ddpm", (10,), thresholding=(True,), sample_max_value=(1.0, 2.0), clip_sample_range=(0.5,))


def euler():
    predictions = ("epsilon", "v_prediction", "sample")
    churns = ({}, {"s_churn": 3.0}, {"s_churn": 100.0, "s_tmin": 0.5, "s_tmax": 5.0, "s_noise": 1.05})
    finals = ("zero", "sigma_min")
    yield from product("euler", prediction_type=predictions, final_sigmas_type=finals, options=churns)
    for kind in ("use_karras_sigmas", "use_exponential_sigmas"):
        yield from product("euler", beta_schedule=SCHEDULES, final_sigmas_type=finals, **{kind: (True,)})
        yield from product("euler", (10,), sigma_min=(None, 0.05), sigma_max=(None, 10.0), **{kind: (True,)})
    yield from product("euler", (10,), interpolation_type=("log_linear",), use_karras_sigmas=(True, False))
    yield from product("euler", (10,), timestep_type=("continuous",), prediction_type=predictions)
    yield from product("euler", (10,), rescale_betas_zero_snr=(True,), prediction_type=predictions)


def euler_a():
    yield from product("euler_a", prediction_type=("epsilon", "v_prediction"), beta_schedule=SCHEDULES)
    yield from product("euler_a", (10,), rescale_betas_zero_snr=(True,), num_train_timesteps=(1000, 100))


def dpmsolver():
    name = "dpmsolver++"
    predictions = ("epsilon", "v_prediction", "sample")
    shared = {"solver_order": (1, 2, 3), "solver_type": ("midpoint", "heun")}
    for algorithm, finals in (
        ("dpmsolver++", ("zero", "sigma_min")),
        ("sde-dpmsolver++", ("zero", "sigma_min")),
        ("dpmsolver", ("sigma_min",)),
        ("sde-dpmsolver", ("sigma_min",)),
    ):
        kind = {"algorithm_type": (algorithm,), "final_sigmas_type": finals}
        orders = (1, 2) if algorithm == "sde-dpmsolver" else (1, 2, 3)
        yield from product(name, prediction_type=predictions, **kind, **(shared | {"solver_order": orders}))
        yield from product(name, (10,), thresholding=(True,), prediction_type=predictions, **kind)
        yield from product(name, (10, 20), lower_order_final=(True, False), euler_at_final=(True, False), **kind)
    for kind in ("use_karras_sigmas", "use_lu_lambdas", "use_exponential_sigmas"):
        yield from product(name, beta_schedule=SCHEDULES[:2], final_sigmas_type=("zero", "sigma_min"), **{kind: (True,)})
    yield from product(name, (10,), beta_schedule=SCHEDULES, lambda_min_clipped=(-float("inf"), -3.0, -5.1))
    yield from product(name, (10,), rescale_betas_zero_snr=(True,), prediction_type=predictions)


def exchanged():
    """Every class's saved file, with values of its own, loaded into every other class."""
    own = {
        "pndm": {"skip_prk_steps": True, "set_alpha_to_one": True},
        "ddim": {"clip_sample": False, "thresholding": True, "rescale_betas_zero_snr": True},
        "ddpm": {"variance_type": "fixed_large", "clip_sample_range": 3.0},
        "euler": {"use_karras_sigmas": True, "sigma_min": 0.04, "sigma_max": 11.0, "timestep_spacing": "trailing"},
        "euler_a": {"timestep_spacing": "leading", "steps_offset": 1},
        "dpmsolver++": {"solver_order": 3, "use_exponential_sigmas": True, "final_sigmas_type": "sigma_min"},
    }
    for (saved, values), loaded in itertools.product(own.items(), reference.CLASSES):
        for prediction in ("epsilon", "v_prediction"):
            yield reference.case(saved, 12, load_as=loaded, prediction_type=prediction, **values)


def halves():
    for name in reference.CLASSES:
        extra = {"skip_prk_steps": (True,)} if name == "pndm" else {}
        dtypes = ("bfloat16", "float16")
        yield from product(name, (10,), dtype=dtypes, prediction_type=("epsilon", "v_prediction"), **extra)


def plain(one):
    """Without infinities, which JSON does not have."""
    config = {key: "-Infinity" if value == -math.inf else value for key, value in one["config"].items()}
    return {**one, "config": config}


def ours(runs=(), noises=()):
    tool = PROGRAM.parent / "scheduler_tool"
    given = json.dumps({"runs": [plain(one) for one in runs], "noises": [plain(one) for one in noises]})
    done = subprocess.run([tool], input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def theirs(one):
    try:
        return reference.run(one)
    except (IndexError, ValueError, ZeroDivisionError) as error:
        return {"error": str(error)}


def finite(values):
    return all(value is not None and math.isfinite(value) for value in values)


def difference(a, b):
    """max|a-b| / max|b|"""
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) / (max(map(abs, b)) or 1.0)


def problem(one, result, expected):
    """What is wrong with our result, or None."""
    if "error" in expected:
        return None if "error" in result else f"Diffusers refuses: {expected['error']}"
    if not finite(expected["samples"][-1]):
        return None if "error" in result or not finite(result["samples"][-1]) else "Diffusers' samples are not finite"
    if "error" in result:
        return result["error"]
    if all(isinstance(t, int) for t in expected["timesteps"]):
        if result["timesteps"] != expected["timesteps"]:
            return f"timesteps {result['timesteps']}, expected {expected['timesteps']}"
    elif difference(result["timesteps"], expected["timesteps"]) > 1e-6:
        return f"timesteps {result['timesteps']}, expected {expected['timesteps']}"
    if result["next_random"] != expected["next_random"]:
        return "the generator is elsewhere"
    for step, (sample, wanted) in enumerate(zip(result["samples"], expected["samples"], strict=True)):
        if not finite(sample) or difference(sample, wanted) > TOLERANCE[one["dtype"]]:
            return f"step {step}: {sample}, expected {wanted}"
    return None


SWEEPS = (pndm, ddim, ddpm, euler, euler_a, dpmsolver, exchanged, halves)


@pytest.mark.parametrize("cases", SWEEPS, ids=lambda sweep: sweep.__name__)
def test_trajectories(cases):
    runs = list(cases())
    results = ours(runs=runs)["runs"]
    problems = []
    compared = 0
    for one, result in zip(runs, results, strict=True):
        expected = theirs(one)
        compared += "samples" in expected and "samples" in result
        wrong = problem(one, result, expected)
        if wrong:
            problems.append((one, wrong))
    assert not problems, f"{len(problems)} of {len(runs)}, the first: {problems[0]}"
    assert compared > 0.8 * len(runs), "too many refused to be a comparison"


def test_add_noise_and_get_velocity():
    cases = list(reference.noise_cases())
    for one, result in zip(cases, ours(noises=cases)["noises"], strict=True):
        for what, expected in reference.noise(one).items():
            assert result[what] == expected, (one, what)

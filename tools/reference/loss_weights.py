"""Weights of the loss and the average of the weights, as their sources have them, for src/training/*_test.cpp.

Makes tests/data/loss_weights.json. Versions: scripts/requirements/parity.txt. Command:

    .venv-parity/bin/python tools/reference/loss_weights.py

SNR comes from diffusers.training_utils.compute_snr on a DDPMScheduler, the average from EMAModel. What has no library is
worked out here in float64 from the papers' formulas: min-SNR (arXiv 2303.09556), debiased estimation (arXiv 2310.08442,
with kohya's bound of 1000 and its form for v-prediction), scheduled pseudo-Huber losses (arXiv 2403.16728, as in
Diffusers' research project). Numbers that are not finite are written as null.
"""

import json
import math
import pathlib

import numpy
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel, compute_snr

DATA = pathlib.Path(__file__).parents[2] / "tests" / "data"
TIMESTEPS = [0, 1, 17, 250, 500, 750, 998, 999]
GAMMA = 5.0
HUBER_C = 0.1


def rounded(values):
    return [float(f"{value:.9g}") if math.isfinite(value) else None for value in numpy.ravel(values)]


def schedule_case(zero_snr):
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=zero_snr
    )
    timesteps = torch.tensor(TIMESTEPS)
    snr32 = compute_snr(scheduler, timesteps)
    snr = snr32.double().numpy()
    alphas = scheduler.alphas_cumprod[timesteps].double().numpy()
    with numpy.errstate(divide="ignore", invalid="ignore"):
        bounded = numpy.minimum(snr, 1000)
        sigma = numpy.sqrt((1 - alphas) / alphas)
        return {
            "rescale_betas_zero_snr": zero_snr,
            "snr": rounded(snr),
            "min_snr_epsilon": rounded(numpy.minimum(snr, GAMMA) / snr),
            "min_snr_velocity": rounded(numpy.minimum(snr, GAMMA) / (snr + 1)),
            "debiased_epsilon": rounded(1 / numpy.sqrt(bounded)),
            "debiased_velocity": rounded(1 / (bounded + 1)),
            "huber_constant": rounded(numpy.full(len(TIMESTEPS), HUBER_C)),
            "huber_exponential": rounded(numpy.exp(math.log(HUBER_C) / 1000 * numpy.array(TIMESTEPS))),
            "huber_snr": rounded((1 - HUBER_C) / (1 + sigma) ** 2 + HUBER_C),
        }


def losses():
    """Two rows of four errors, each row with a threshold of its own."""
    errors = numpy.array([[0, 0.01, -0.5, 4], [-0.02, 0.3, -1, 30]])
    thresholds = numpy.array([0.1, 0.75])
    c = thresholds[:, None]
    smooth = 2 * (numpy.sqrt(errors**2 + c**2) - c)
    return {
        "errors": rounded(errors),
        "thresholds": rounded(thresholds),
        "l2": rounded(errors**2),
        "smooth_l1": rounded(smooth),
        "huber": rounded(c * smooth),
    }


def parameter(step):
    i = torch.arange(6)
    return ((i * 37 + step * 29) % 101 - 50).float() / 500


def average(decay, steps):
    trained = torch.nn.Parameter(parameter(0))
    model = EMAModel([trained], decay=decay)
    case = {"decay": decay, "decays": [], "values": []}
    for step in range(1, steps + 1):
        with torch.no_grad():
            trained.copy_(parameter(step))
        model.step([trained])
        case["decays"].append(model.cur_decay_value)
        case["values"].append(model.shadow_params[0].tolist())
    return case


def main():
    cases = {
        "timesteps": TIMESTEPS,
        "snr_gamma": GAMMA,
        "huber_c": HUBER_C,
        "schedules": [schedule_case(False), schedule_case(True)],
        "losses": losses(),
        "averages": [average(0.9999, 12), average(0.5, 12)],
    }
    text = json.dumps(cases, indent=1)
    (DATA / "loss_weights.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

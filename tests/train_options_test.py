"""What the options do that Diffusers' text-to-image script lacks: the LoRA, the loss, the optimizer, the average."""

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from train_support import LORA, ROOT, Run, check_failed, column, run_recipe, values

STYLE = ROOT / "examples/demo-style"
RATE = 1e-3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six photos with their captions."""
    folder = tmp_path_factory.mktemp("data")
    for i in range(6):
        (folder / f"{i}.png").symlink_to(STYLE / f"{i:03}.png")
    lines = (STYLE / "metadata.jsonl").read_text().splitlines()[:6]
    (folder / "metadata.jsonl").write_text("".join(line.replace('"00', '"') + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def train(data, tmp_path_factory):
    """Runs the program once for each set of options; four steps of two pictures unless they say otherwise."""
    known = {}

    def run(*more):
        if more not in known:
            flags = {"train_data_dir": data, "resolution": 32, "train_batch_size": 2, "max_train_steps": 4,
                     "learning_rate": RATE, "output_dir": tmp_path_factory.mktemp("run")}  # fmt: skip
            known[more] = Run("text-to-image", flags, more)
        return known[more]

    return run


ONE = ["--max_train_steps=1"]


# Off by default


def defaults():
    """--name=DEFAULT of every option that has one."""
    given = {"resolution", "rank", "train_batch_size", "learning_rate", "device", "output_dir", "report_to", "lr_warmup_steps"}
    for line in (ROOT / "tests/data/cli_contract.txt").read_text().splitlines():
        match = re.fullmatch(r"train text-to-image --(\w+) (flag|int|float|str) (\S+)( \[.*\])?", line)
        if match and match[3] not in ("none", "required") and match[1] not in given:
            yield f"--{match[1]}={match[3]}"


def test_all_defaults_given_change_no_bit(train):
    every = list(defaults())
    assert len(every) > 50 and "--lora_plus_ratio=1.0" in every and "--use_ema=false" in every
    assert train(*every).bits == train().bits


OFF = ["--lora_alpha=2", "--ema_decay=0.5", "--huber_c=0.3", "--multires_noise_discount=0.9", "--max_nonfinite_steps=1",
       "--keep_tokens=2", "--caption_separator=;", "--validation_epochs=2", "--num_validation_images=1",
       "--huber_schedule=constant", "--bucket_reso_steps=8", "--min_bucket_reso=16", "--bucket_no_upscale",
       "--default_caption=cat", "--text_encoder_target_modules=q_proj"]  # fmt: skip


def test_what_belongs_to_an_option_that_is_off_changes_no_bit(train):
    """lora_alpha=2 at rank 2 is what unset means."""
    assert train(*OFF).bits == train().bits


# LoRA


def test_the_scale_is_alpha_over_rank_or_its_root(train):
    """An update so small beside epsilon that Adam takes the gradient itself, which is proportional to the scale; and the
    scale is part of the saved matrices again."""
    gradient = ["--adam_epsilon=1e3", "--learning_rate=1e3", "--adam_weight_decay=0", "--max_grad_norm=1e9", "--rank=4", *ONE]
    plain = values(train(*gradient).lora, "up")
    assert np.linalg.norm(plain) > 0
    for more, scale in ((["--lora_alpha=2"], 0.5), (["--lora_alpha=2", "--use_rslora"], 1), (["--use_rslora"], 2),
                        (["--lora_alpha=8"], 2)):  # fmt: skip
        run = train(*gradient, *more)
        assert run.losses == train(*gradient).losses, "an up matrix of zeros has no part in the first loss"
        up = values(run.lora, "up")
        assert np.linalg.norm(up - scale**2 * plain) <= 1e-4 * np.linalg.norm(scale**2 * plain), more


def test_dropout_drops_inputs_of_the_update(train):
    plain, some, nearly_all = (train(*ONE, f"--lora_dropout={p}") for p in ("0.0", "0.5", "0.999999999"))
    assert plain.bits == train(*ONE).bits
    assert plain.losses == some.losses == nearly_all.losses
    assert np.any(values(some.lora, "up") != values(plain.lora, "up"))
    assert not np.any(values(nearly_all.lora, "up")), "what sees nothing learns nothing"


def test_ranks_by_pattern(train):
    lora = train("--rank_pattern", "attn2.to_k=5", "*.attn1.*=3", "to_k=9").lora
    shapes = {name: value.shape for name, value in lora.items()}
    assert shapes.keys() == train().lora.keys()
    for name, shape in shapes.items():
        rank = shape[0] if ".down." in name else shape[1]
        assert rank == (5 if "attn2.to_k" in name else 3 if ".attn1." in name else 2), name


def test_a_pattern_that_says_the_same_changes_no_bit(train):
    assert train("--rank_pattern=to_k=2").bits == train().bits


def test_target_modules(train):
    names = train("--target_modules", "ff.net.2", "proj_in", "conv1", *ONE).lora
    modules = {re.fullmatch(r"unet\.(.*)\.lora\.(up|down)\.weight", name)[1] for name in names}
    assert modules and all(re.search(r"\.(ff\.net\.2|proj_in|conv1)$", module) for module in modules)
    assert {module.rsplit(".", 1)[1] for module in modules} == {"2", "proj_in", "conv1"}
    assert {len(names[f"unet.{m}.lora.down.weight"].shape) for m in modules if m.endswith("conv1")} == {4}


@pytest.mark.parametrize("targets", [[], ["--text_encoder_target_modules", "q_proj", "fc1"]])
def test_the_text_encoder_learns_too(train, targets):
    lora = train("--train_text_encoder", *targets).lora
    text = {name: value for name, value in lora.items() if name.startswith("text_encoder.text_model.")}
    assert lora.keys() - text.keys() == train().lora.keys()
    ends = {re.search(r"\.(\w+)\.lora_linear_layer\.", name)[1] for name in text}
    assert ends == ({"q_proj", "fc1"} if targets else {"q_proj", "k_proj", "v_proj", "out_proj"})
    assert all(np.any(value) for value in text.values())


# Loss: one timestep, so that its SNR is known


def snr(timestep):
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    cumulative = np.cumprod(1 - betas)[timestep]
    return cumulative / (1 - cumulative)


@pytest.fixture(scope="module")
def loss_at(train):
    def run(timestep, *more):
        return train(*ONE, f"--min_timestep={timestep}", f"--max_timestep={timestep + 1}", *more).losses[0]

    return run


@pytest.mark.parametrize("timestep", [0, 300, 999])
def test_debiased_estimation(loss_at, timestep):
    ratio = loss_at(timestep, "--debiased_estimation_loss") / loss_at(timestep)
    np.testing.assert_allclose(ratio, 1 / np.sqrt(min(snr(timestep), 1000)), rtol=1e-4)


def test_debiased_estimation_of_velocity(loss_at):
    velocity = ["--prediction_type=v_prediction"]
    ratio = loss_at(300, *velocity, "--debiased_estimation_loss") / loss_at(300, *velocity)
    np.testing.assert_allclose(ratio, 1 / (snr(300) + 1), rtol=1e-4)
    assert loss_at(300, *velocity) != loss_at(300)


THRESHOLDS = {"constant": lambda t, c: c, "exponential": lambda t, c: c ** (t / 1000),
              "snr": lambda t, c: (1 - c) / (1 + snr(t) ** -0.5) ** 2 + c}  # fmt: skip


@pytest.mark.parametrize("schedule", THRESHOLDS)
@pytest.mark.parametrize("timestep", [100, 700])
def test_huber_thresholds(loss_at, schedule, timestep):
    """huber is smooth_l1 times the threshold."""
    own = [f"--huber_schedule={schedule}", "--huber_c=0.02"]
    ratio = loss_at(timestep, "--loss_type=huber", *own) / loss_at(timestep, "--loss_type=smooth_l1", *own)
    np.testing.assert_allclose(ratio, THRESHOLDS[schedule](timestep, 0.02), rtol=1e-4)


def test_huber_is_between_square_and_absolute(loss_at):
    def huber(c):
        return loss_at(300, "--loss_type=huber", "--huber_schedule=constant", f"--huber_c={c}")

    np.testing.assert_allclose(huber(10), loss_at(300), rtol=0.01)  # far above the errors: their squares
    np.testing.assert_allclose(huber(1e-5) / huber(1e-6), 10, rtol=1e-3)  # far below: c times their size
    assert huber(1e-5) / 2e-5 <= np.sqrt(loss_at(300)), "a mean of sizes is at most the root of the mean square"
    assert huber(0.1) < loss_at(300)


def test_the_range_of_timesteps(train, loss_at):
    assert loss_at(999) < loss_at(500) < loss_at(20), "the less noise there is, the harder it is to tell"
    easy, hard = train("--min_timestep=900").losses, train("--max_timestep=100").losses
    assert max(easy) < min(hard)
    assert train("--min_timestep=300", "--max_timestep=301", *ONE).losses == [loss_at(300)]


def test_input_perturbation(loss_at):
    assert loss_at(999, "--input_perturbation=0") == loss_at(999)
    for strength in (0.1, 0.3):  # in pure noise the model finds the disturbed one, and is wrong by what was added
        added = loss_at(999, f"--input_perturbation={strength}") - loss_at(999)
        np.testing.assert_allclose(added, strength**2, rtol=0.5)


def test_noise_in_several_resolutions(train):
    runs = {n: train(*ONE, f"--multires_noise_iterations={n}", "--multires_noise_discount=0.8") for n in (0, 1, 2, 4, 32)}
    assert runs[0].bits == train(*ONE).bits
    assert len({run.losses[0] for run in runs.values()}) == 4
    assert runs[4].bits == runs[32].bits, "latents of 8 x 8 have no coarser layers than that"
    weaker = train(*ONE, "--multires_noise_iterations=4", "--multires_noise_discount=0.1")
    assert weaker.losses != runs[4].losses


# Optimizers


def test_every_optimizer_learns_in_its_own_way(train):
    names = ["adamw", "adafactor", "lion", "prodigy", "schedulefree"]
    runs = {name: train(f"--optimizer={name}", *(["--learning_rate=1"] if name == "prodigy" else [])) for name in names}
    assert runs["adamw"].bits == train().bits
    assert len({run.bits[1] for run in runs.values()}) == len(names)
    for run in runs.values():
        assert np.all(np.isfinite(values(run.lora, "up"))) and np.linalg.norm(values(run.lora, "up")) > 0
        assert run.losses[0] == train().losses[0]


def test_8_bit_adam_has_two_names(train):
    run = train("--optimizer=adamw8bit")
    assert run.bits == train("--use_8bit_adam").bits
    # Its small tensors stay in 32 bits, and all are small here.
    np.testing.assert_allclose(values(run.lora, "up"), values(train().lora, "up"), rtol=1e-3, atol=1e-6)


def test_first_steps(train):
    still = ["--adam_weight_decay=0", *ONE]
    lion = np.abs(values(train("--optimizer=lion", *still).lora, "up"))
    assert set(np.unique(lion)) <= {0, np.float32(RATE)} and lion.max() > 0, "the sign of the gradient, nothing else"
    for name in ("adamw", "schedulefree"):
        up = np.abs(values(train(f"--optimizer={name}", *still).lora, "up"))
        np.testing.assert_allclose(np.median(up), RATE, rtol=0.01)
    for name, value in train("--optimizer=adafactor", *still).lora.items():
        if ".up." in name:  # a matrix's update has at most a root mean square of 1
            assert 0.3 * RATE < np.sqrt(np.mean(value**2)) < 1.001 * RATE, name


def test_prodigy_logs_the_rate_it_found(train):
    records = (train("--optimizer=prodigy", "--learning_rate=1").folder / "logs/text2image-fine-tune.jsonl").read_text()
    assert re.findall(r'"lr":([\d.e-]+)', records)[0] == "1e-06"


def test_schedule_free_saves_its_average(train):
    """In training the weights are between the average and the last point: 0.9 of the one and 0.1 of the other."""
    run = train("--optimizer=schedulefree", "--checkpointing_steps=4")
    training, last = run.tensors(4, "lora"), run.tensors(4, "optimizer.last")
    for name, saved in run.lora.items():
        np.testing.assert_allclose(saved, (training[name] - 0.1 * last[name]) / 0.9, rtol=1e-3, atol=1e-6)
    assert np.any(values(run.lora, "up") != values(training, "up"))


def test_lora_plus_gives_up_matrices_the_higher_rate(train):
    still = ["--adam_weight_decay=0"]
    fast, plus = ["--learning_rate=16e-4", *still], ["--learning_rate=1e-4", "--lora_plus_ratio=16", *still]
    start = values(train(*fast, *ONE).lora, "down")  # whose gradient is 0 in the first step
    np.testing.assert_array_equal(values(train(*plus, *ONE).lora, "down"), start)
    np.testing.assert_allclose(values(train(*plus, *ONE).lora, "up"), values(train(*fast, *ONE).lora, "up"), rtol=1e-5)
    two = ["--max_train_steps=2"]
    moved = [values(train(*flags, *two).lora, "down") - start for flags in (fast, plus)]
    assert np.linalg.norm(moved[1]) > 0
    assert np.linalg.norm(moved[0] - 16 * moved[1]) <= 2e-3 * np.linalg.norm(moved[0])
    ups = [values(train(*flags, *two).lora, "up") for flags in (fast, plus)]
    np.testing.assert_allclose(ups[1], ups[0], rtol=1e-3, atol=1e-7)


def test_the_shape_of_the_rates_fall(train):
    rates = column(train("--lr_scheduler=polynomial", "--lr_power=3").folder, "lr")
    np.testing.assert_allclose(rates, [1e-7 + (RATE - 1e-7) * (1 - step / 4) ** 3 for step in range(1, 5)], rtol=1e-6)
    rates = column(train("--lr_scheduler=cosine_with_restarts", "--lr_num_cycles=2", "--max_train_steps=6").folder, "lr")
    cosines = [RATE * (1 + np.cos(np.pi * (step / 3 % 1))) / 2 for step in range(1, 6)]
    np.testing.assert_allclose(rates, [*cosines, 0], rtol=1e-6)


# Average of the LoRA


@pytest.mark.parametrize("decay", [0.9999, 0.2])
def test_the_average_is_what_is_saved(train, decay):
    run = train("--use_ema", f"--ema_decay={decay}", "--checkpointing_steps=1")
    assert run.losses == train().losses, "training knows nothing of it"
    average = run.tensors(1, "lora")
    for step in range(1, 5):
        weight = 0 if step == 1 else min(decay, step / (9 + step))
        lora = run.tensors(step, "lora")
        average = {name: weight * average[name] + (1 - weight) * lora[name] for name in lora}
        saved = load_file(run.folder / f"checkpoint-{step}" / LORA)
        for name, value in average.items():
            np.testing.assert_allclose(saved[name], value, rtol=1e-4, atol=1e-7)
    assert (run.folder / LORA).read_bytes() == (run.folder / "checkpoint-4" / LORA).read_bytes()
    assert np.any(values(run.lora, "up") != values(train().lora, "up"))


def test_an_average_that_forgets_at_once_is_the_lora_itself(train):
    for name, value in train("--use_ema", "--ema_decay=0").lora.items():
        np.testing.assert_allclose(value, train().lora[name], rtol=1e-5, atol=1e-9)


# Steps that are not finite


@pytest.fixture(scope="module")
def overflowing(train):
    """Noise so strong that the square of some of it, and not of all, is more than a float holds."""
    return train("--noise_offset=1e18", "--train_batch_size=1", "--max_train_steps=12", "--max_nonfinite_steps=6")


def test_steps_that_are_not_finite_are_left_out_and_named(overflowing):
    warning = r"warning: the loss of step (\d+) is inf \(pictures: \d\.png\): the step is left out"
    left_out = re.findall(warning, overflowing.said)
    assert left_out and len(left_out) < 12
    assert [i + 1 for i, loss in enumerate(overflowing.losses) if loss is None] == [int(step) for step in left_out]
    assert f"12 steps ({len(left_out)} left out, being not finite)" in overflowing.said
    assert all(np.all(np.isfinite(value)) for value in overflowing.lora.values())


def test_too_many_in_a_row_end_the_run(data, tmp_path):
    flags = {"train_data_dir": data, "resolution": 32, "noise_offset": 1e20, "max_train_steps": 9, "output_dir": tmp_path}
    for most, more in ((3, []), (2, ["--max_nonfinite_steps=2"])):
        done = run_recipe("text-to-image", flags, more)
        check_failed(done, 1, f"the loss of step {most} is nan", f"for {most} steps in a row")
        assert done.stderr.count("the step is left out") == most - 1
        assert not (tmp_path / LORA).exists()


def test_a_run_whose_last_steps_were_left_out_saves_nothing(data, tmp_path):
    flags = {"train_data_dir": data, "resolution": 32, "noise_offset": 1e20, "max_train_steps": 2, "output_dir": tmp_path}
    check_failed(run_recipe("text-to-image", flags), 1, "the last 2 steps", "not saved")
    assert not (tmp_path / LORA).exists()


# Going on with other options


def test_override_lets_a_run_go_on_otherwise(train, data, tmp_path):
    start = train("--max_train_steps=2", "--checkpointing_steps=2")
    (tmp_path / "checkpoint-2").symlink_to(start.folder / "checkpoint-2")
    flags = {"train_data_dir": data, "resolution": 32, "train_batch_size": 2, "max_train_steps": 4, "learning_rate": 0,
             "loss_type": "huber", "output_dir": tmp_path, "resume_from_checkpoint": "latest"}  # fmt: skip
    check_failed(run_recipe("text-to-image", flags, ["--override=learning_rate"]), 2, "--loss_type")
    run = Run("text-to-image", {**flags, "override": ["learning_rate", "loss_type"]}, [])
    assert len(run.losses) == 2 and run.losses != train().losses[2:]
    assert (Path(tmp_path) / LORA).read_bytes() == (start.folder / LORA).read_bytes(), "a rate of 0 moves nothing"

"""`lorikeet train --algo`: every algorithm learns, from both recipes, goes on after a kill, and writes what others read."""

import json
import shutil
import signal

import numpy as np
import pytest
from PIL import Image
from run_support import (
    BASE,
    LORA,
    PROGRAM,
    ROOT,
    assert_checkpoints_whole,
    assert_same_result,
    caption_lists,
    checkpoints,
    end,
    run,
    start,
    step_of,
    text_to_image,
    wait_for,
)
from safetensors import safe_open
from safetensors.numpy import load_file
from train_support import check_failed, run_recipe

LATEST = "--resume_from_checkpoint=latest"
ALGORITHMS = ["lora", "locon", "loha", "lokr", "dora", "pissa"]
ONE_PICTURE = ROOT / "examples/demo-subject"
PROMPT = "sks cat face"
# The rate at which each learns the little data by heart in a few steps; loha and lokr move all of a weight at once.
RATES = {"lora": 5e-3, "locon": 2e-3, "loha": 2e-3, "lokr": 2e-3, "dora": 5e-3, "pissa": 2e-3}


def dreambooth(output, *more):
    flags = [
        f"--pretrained_model_name_or_path={BASE}", f"--instance_data_dir={ONE_PICTURE}", f"--instance_prompt={PROMPT}",
        "--resolution=32", "--train_batch_size=1", "--max_train_steps=4", "--rank=2", "--learning_rate=1e-3",
        "--lr_warmup_steps=0", "--seed=2", "--device=cpu", "--report_to=jsonl", f"--output_dir={output}",
    ]  # fmt: skip
    return [PROGRAM, "train", "dreambooth", *flags, *more]


def losses(output, name):
    (log,) = (output / "logs").glob("*.jsonl")
    return [record[name] for record in map(json.loads, log.read_text().splitlines()) if name in record]


def generate(output, *flags):
    words = [PROGRAM, "generate", f"--pretrained_model_name_or_path={BASE}", f"--prompt={PROMPT}", "--height=32",
             "--width=32", "--seed=2", "--device=cpu", f"--output={output}", *flags]  # fmt: skip
    run(words)
    return np.asarray(Image.open(output))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return caption_lists(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module", params=ALGORITHMS)
def learned(request, tmp_path_factory):
    """A text-to-image run on one picture, with its validation picture of the last step."""
    folder = tmp_path_factory.mktemp("learned")
    picture = folder / "data"
    picture.mkdir()
    Image.open(sorted(p for p in ONE_PICTURE.iterdir() if p.suffix in (".png", ".jpg"))[0]).save(picture / "cat.png")
    (picture / "cat.txt").write_text(PROMPT)
    # Few timesteps and no held-out noise: a falling loss shows in 24 steps.
    run(text_to_image(picture, folder / "out", f"--algo={request.param}", "--resolution=32", "--rank=4", "--lora_dropout=0",
                      "--train_batch_size=2", "--gradient_accumulation_steps=1", "--max_train_steps=24", "--seed=2",
                      f"--learning_rate={RATES[request.param]}", "--lr_scheduler=constant", "--checkpointing_steps=24",
                      "--train_text_encoder", "--validation_prompt=" + PROMPT, "--num_validation_images=1",
                      "--validation_epochs=1000", "--min_timestep=600", "--max_timestep=800"))  # fmt: skip
    return request.param, folder / "out"


def test_learns_by_heart(learned):
    _, output = learned
    values = losses(output, "train_loss")
    assert len(values) == 24 and np.all(np.isfinite(values))
    assert np.mean(values[-6:]) < 0.8 * np.mean(values[:6])


def test_the_file_draws_what_the_run_drew(learned, tmp_path):
    """The validation picture comes from the adapters in memory: PiSSA's sit on a base without its principal part."""
    _, output = learned
    drawn = np.asarray(Image.open(output / "validation/final/image_0.png")).astype(int)
    read = generate(tmp_path / "read.png", f"--lora={output}", "--num_inference_steps=30").astype(int)
    base = generate(tmp_path / "base.png", "--num_inference_steps=30").astype(int)
    assert np.abs(read - drawn).max() <= 2
    assert np.abs(base - drawn).max() > 20, "the LoRA is to be seen"


def test_scale_0_is_the_base_model(learned, tmp_path):
    _, output = learned
    none = generate(tmp_path / "none.png", f"--lora={output}", "--scale=0", "--num_inference_steps=3")
    np.testing.assert_array_equal(none, generate(tmp_path / "base.png", "--num_inference_steps=3"))


def test_the_dialect_is_the_one_in_which_others_look_for_it(learned):
    algorithm, output = learned
    with safe_open(output / LORA, "np") as file:
        names, metadata = list(file.keys()), file.metadata()
    ends = {name.rpartition(".")[2] if "hada" in name or "lokr" in name else name.split(".lora")[-1] for name in names}
    shapes = {name: value.shape for name, value in load_file(output / LORA).items()}
    wide = [name for name in shapes if ".conv1." in name or "_conv1." in name]
    assert bool(wide) == (algorithm in ("locon", "loha", "lokr")), "LyCORIS' algorithms reach the convolutions"
    if algorithm in ("lora", "locon", "pissa"):
        assert ends == {".down.weight", ".up.weight", "_linear_layer.down.weight", "_linear_layer.up.weight"}
        ranks = {shape[0] for name, shape in shapes.items() if ".down.weight" in name}
        assert ranks == ({8} if algorithm == "pissa" else {4}), "PiSSA's is the difference of two"
    elif algorithm == "dora":
        assert "_A.weight" in ends and "_magnitude_vector" in ends
        config = json.loads(metadata["lora_adapter_metadata"])
        assert config["unet.use_dora"] is True and config["unet.r"] == 4 and config["text_encoder.use_dora"] is True
    else:
        assert metadata["ss_network_module"] == "lycoris.kohya"
        assert json.loads(metadata["ss_network_args"])["algo"] == algorithm
        kind = {"loha": "hada_w1_a", "lokr": "lokr_w1"}[algorithm]
        assert kind in ends and all(name.startswith(("lora_unet_", "lora_te_")) for name in names)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_dreambooth_trains_it_too(algorithm, tmp_path):
    run(dreambooth(tmp_path / "out", f"--algo={algorithm}", "--use_rslora", "--lora_alpha=3", "--rank_pattern",
                   "attn2.to_k=3"))
    assert len(losses(tmp_path / "out", "loss")) == 4
    first = generate(tmp_path / "a.png", f"--lora={tmp_path / 'out'}", "--num_inference_steps=3").astype(int)
    base = generate(tmp_path / "b.png", "--num_inference_steps=3").astype(int)
    assert np.abs(first - base).max() > 0


def killed_after(whole, output, step):
    """A copy of `whole` as it was when it was killed behind checkpoint-`step`."""
    shutil.copytree(whole, output, ignore=lambda folder, names: [LORA, "best", "cache"] if folder == str(whole) else [])
    for folder in checkpoints(output):
        if step_of(folder) > step:
            shutil.rmtree(folder)


@pytest.mark.parametrize("algorithm", ALGORITHMS[1:])
def test_goes_on_bit_for_bit(algorithm, data, tmp_path):
    """Dropout, an average, accumulation, a text encoder and random crops; LyCORIS' whole reach."""
    flags = [f"--algo={algorithm}", "--max_train_steps=4", "--use_ema", "--train_text_encoder", "--rank=2", "--conv_rank=1",
             "--lora_alpha=1"]  # fmt: skip
    run(text_to_image(data, tmp_path / "whole", *flags))
    killed_after(tmp_path / "whole", tmp_path / "broken", 2)
    run(text_to_image(data, tmp_path / "broken", *flags, LATEST))
    assert_same_result(tmp_path / "broken", tmp_path / "whole")
    assert_checkpoints_whole(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize("algorithm", ["loha", "pissa"])
def test_goes_on_after_a_real_kill(algorithm, tmp_path):
    flags = [f"--algo={algorithm}", "--max_train_steps=4", "--checkpointing_steps=1", "--lora_dropout=0.1",
             "--gradient_checkpointing", "--mixed_precision=bf16"]  # fmt: skip
    run(dreambooth(tmp_path / "whole", *flags))
    broken = tmp_path / "broken"
    process = start(dreambooth(broken, *flags))
    assert wait_for(lambda: checkpoints(broken), process)
    process.send_signal(signal.SIGKILL)
    end(process)
    assert not (broken / LORA).exists()
    run(dreambooth(broken, *flags, LATEST))
    assert (broken / LORA).read_bytes() == (tmp_path / "whole" / LORA).read_bytes()


def test_pissa_keeps_what_it_took_out(data, tmp_path):
    """Another machine may find another basis of the same part: the checkpoint says which one was taken out."""
    flags = ["--algo=pissa", "--max_train_steps=2", "--rank=2"]
    run(text_to_image(data, tmp_path / "out", *flags))
    state = load_file(tmp_path / "out/checkpoint-2/training_state.safetensors")
    taken = {name.removeprefix("taken_out."): value for name, value in state.items() if name.startswith("taken_out.")}
    trained = {name.removeprefix("lora."): value for name, value in state.items() if name.startswith("lora.")}
    assert taken.keys() == trained.keys()
    written = load_file(tmp_path / "out" / LORA)
    for path in {name.rpartition(".")[0] for name in taken}:
        down, up = written[f"{path}.lora.down.weight"], written[f"{path}.lora.up.weight"]
        np.testing.assert_array_equal(down, np.concatenate([trained[path + ".down"], taken[path + ".down"]], 0))
        np.testing.assert_array_equal(up, np.concatenate([trained[path + ".up"], -taken[path + ".up"]], 1))


def test_a_checkpoint_of_another_algorithm_is_refused(data, tmp_path):
    run(text_to_image(data, tmp_path / "out", "--max_train_steps=1"))
    flags = {"train_data_dir": data, "output_dir": tmp_path / "out", "resolution": 32}
    more = [LATEST, "--seed=3", "--rank=1", "--random_flip", "--train_batch_size=2", "--gradient_accumulation_steps=2",
            "--learning_rate=1e-3", "--lr_scheduler=cosine", "--lora_dropout=0.1"]  # fmt: skip
    check_failed(run_recipe("text-to-image", flags, [*more, "--algo=pissa"]), 2, '--algo="lora"', '"pissa"')
    check_failed(run_recipe("text-to-image", flags, [*more, "--conv_rank=8"]), 2, "--conv_rank=null", "8")


@pytest.mark.parametrize(
    "flags, code, words",
    [
        (["--algo=oft"], 2, ["--algo", "one of lora, locon, loha, lokr, dora, pissa", "'oft'"]),
        (["--algo=pissa", "--rank=1000"], 2, ["--algo=pissa", "at most ", "to_q", "1000"]),
        (["--algo=lokr", "--lokr_factor=0"], 2, ["--lokr_factor is 0"]),
        (["--conv_rank=0"], 2, ["--conv_rank", "at least 1"]),
        (["--conv_alpha=-1.0"], 2, ["--conv_alpha", "above 0"]),
    ],
)
def test_what_cannot_be_is_refused(flags, code, words, tmp_path):
    values = {"instance_data_dir": ONE_PICTURE, "instance_prompt": PROMPT, "output_dir": tmp_path / "out"}
    check_failed(run_recipe("dreambooth", values, flags), code, *words)
    assert not (tmp_path / "out").exists()


def test_given_targets_go_before_the_algorithms_own(tmp_path):
    run(dreambooth(tmp_path / "out", "--algo=loha", "--target_modules", "to_q", "conv_in"))
    layers = {name.partition(".")[0] for name in load_file(tmp_path / "out" / LORA)}
    assert "lora_unet_conv_in" in layers and all(name.endswith(("to_q", "conv_in")) for name in layers)


def test_what_has_no_effect_is_told(tmp_path):
    said = run(dreambooth(tmp_path / "out", "--algo=lokr", "--lora_plus_ratio=4", "--max_train_steps=1"))
    assert "--lora_plus_ratio has no effect with --algo=loha and lokr" in said

"""`lorikeet generate`: pictures equal to Diffusers' (tests/data/generate), files, seeds, errors and exit codes."""

import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROGRAM = os.environ.get("LORIKEET_PROGRAM", "build/lorikeet")
BASE = "models/lorikeet-base"
DATA = Path("tests/data/generate")
SCHEDULERS = ["pndm", "ddim", "ddpm", "euler", "euler_a", "dpmsolver++"]
CLOSEST = 2  # of 255, the agreed tolerance


def run(*flags, env=None):
    return subprocess.run([PROGRAM, "generate", *map(str, flags)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **(env or {})})


def draw(output, *flags, prompt="red apple", steps=4, seed=0):
    """Runs the program with the base model; fails with the program's own words when it does."""
    done = run(f"--pretrained_model_name_or_path={BASE}", f"--prompt={prompt}", f"--num_inference_steps={steps}",
               f"--seed={seed}", "--device=cpu", f"--output={output}", *flags)
    assert done.returncode == 0, done.stderr
    return done


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), int)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_pictures_equal_diffusers_at_scales_0_half_and_1(scheduler, tmp_path):
    output = tmp_path / "strip.png"
    draw(output, f"--scheduler={scheduler}", f"--lora={DATA / 'lora.safetensors'}", "--scale=0,0.5,1", "--grid",
         "--negative_prompt=blue car", "--guidance_scale=3", steps=20)
    ours = np.concatenate(np.split(pixels(output), 3, axis=0), axis=1)  # our grid has a row per scale
    theirs = pixels(DATA / f"{scheduler.replace('+', 'p')}.png")
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= CLOSEST


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        draw(tmp_path / f"{name}.png", seed=seed)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert np.abs(pixels(tmp_path / "a.png") - pixels(tmp_path / "c.png")).max() > 20


def test_scale_0_is_the_base_model_bit_for_bit_and_scale_1_is_not(tmp_path):
    draw(tmp_path / "base.png")
    lora = f"--lora={DATA / 'lora.safetensors'}"
    done = draw(tmp_path / "lora.png", lora, "--scale=0,1")
    assert (tmp_path / "base.png").read_bytes() == (tmp_path / "lora-scale0.png").read_bytes()
    assert np.abs(pixels(tmp_path / "base.png") - pixels(tmp_path / "lora-scale1.png")).max() > 5
    assert "lora-scale0.png" in done.stderr + done.stdout


def test_a_lora_folder_means_its_weights_file(tmp_path):
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "pytorch_lora_weights.safetensors").write_bytes((DATA / "lora.safetensors").read_bytes())
    draw(tmp_path / "a.png", f"--lora={folder}")
    draw(tmp_path / "b.png", f"--lora={DATA / 'lora.safetensors'}")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_several_prompts_and_pictures_are_numbered_prompt_by_prompt(tmp_path):
    draw(tmp_path / "p.png", "--prompt=panda", "--num_images_per_prompt=2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p-0.png", "p-1.png", "p-2.png", "p-3.png"]
    assert len({(tmp_path / f"p-{i}.png").read_bytes() for i in range(4)}) == 4


def test_a_grid_has_a_row_per_scale_and_a_column_per_picture(tmp_path):
    draw(tmp_path / "g.png", "--prompt=panda", "--grid", f"--lora={DATA / 'lora.safetensors'}", "--scale=0,0.5,1")
    assert pixels(tmp_path / "g.png").shape == (3 * 64, 2 * 64, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["g.png"]


@pytest.mark.parametrize("height, width", [(64, 104), (72, 40)])
def test_sizes_divisible_by_eight(height, width, tmp_path):
    draw(tmp_path / "p.png", f"--height={height}", f"--width={width}", steps=2)
    assert pixels(tmp_path / "p.png").shape == (height, width, 3)


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_the_ending_chooses_the_format(ending, tmp_path):
    draw(tmp_path / f"p.{ending}", steps=2)
    assert Image.open(tmp_path / f"p.{ending}").format == {"jpg": "JPEG", "webp": "WEBP"}[ending]


def test_slicing_changes_no_byte(tmp_path):
    draw(tmp_path / "a.png", "--num_images_per_prompt=2", steps=2)
    draw(tmp_path / "b.png", "--num_images_per_prompt=2", "--vae_slicing", steps=2)
    for i in range(2):
        assert np.abs(pixels(tmp_path / f"a-{i}.png") - pixels(tmp_path / f"b-{i}.png")).max() <= 1


def test_tiling_draws_a_large_picture_nearly_alike(tmp_path):
    draw(tmp_path / "a.png", "--height=128", "--width=128", steps=2)
    draw(tmp_path / "b.png", "--height=128", "--width=128", "--vae_tiling", steps=2)
    difference = np.abs(pixels(tmp_path / "a.png") - pixels(tmp_path / "b.png"))
    assert 0 < difference.max() and difference.mean() < 16


def test_bf16_draws_nearly_the_same_picture(tmp_path):
    draw(tmp_path / "a.png", "--guidance_scale=3", steps=10)
    draw(tmp_path / "b.png", "--guidance_scale=3", "--dtype=bf16", steps=10)
    difference = np.abs(pixels(tmp_path / "a.png") - pixels(tmp_path / "b.png"))
    assert 0 < difference.mean() < 12


def test_without_a_seed_one_is_chosen_and_printed(tmp_path):
    model = f"--pretrained_model_name_or_path={BASE}"
    flags = [model, "--prompt=panda", "--num_inference_steps=2", "--device=cpu"]
    first = run(*flags, f"--output={tmp_path / 'a.png'}")
    assert first.returncode == 0, first.stderr
    seed = re.search(r"--seed=(\d+)", first.stderr + first.stdout).group(1)
    again = run(*flags, f"--output={tmp_path / 'b.png'}", f"--seed={seed}")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_time_and_memory_are_told_at_the_end(tmp_path):
    done = draw(tmp_path / "p.png", steps=2)
    assert re.search(r"1 picture in \d+(\.\d+)? s.* peak memory \d+ MiB", done.stderr + done.stdout)


def test_what_the_text_encoder_cannot_read_is_named(tmp_path):
    done = draw(tmp_path / "p.png", prompt="red apple " * 40 + "zebra", steps=1)
    assert "cut off" in done.stderr and "zebra" in done.stderr


def test_options_come_from_a_config_file_too(tmp_path):
    config = tmp_path / "g.toml"
    config.write_text(f'pretrained_model_name_or_path = "{BASE}"\nprompt = ["panda"]\nnum_inference_steps = 2\nseed = 3\n'
                      f'device = "cpu"\noutput = "{tmp_path / "a.png"}"\n')
    done = run(f"--config={config}")
    assert done.returncode == 0, done.stderr
    draw(tmp_path / "b.png", prompt="panda", steps=2, seed=3)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_ctrl_c_exits_130_and_leaves_nothing(tmp_path):
    running = subprocess.Popen([PROGRAM, "generate", f"--pretrained_model_name_or_path={BASE}", "--prompt=x", "--device=cpu",
                                "--num_inference_steps=900", f"--output={tmp_path}/p.png"],
                               stderr=subprocess.PIPE, text=True)
    said = ""
    while "Drawing" not in said:  # the first step is done
        more = running.stderr.read(1)
        assert more, said
        said += more
    running.send_signal(signal.SIGINT)
    said += running.stderr.read()
    assert running.wait(timeout=60) == 130, said
    assert "stopped at step" in said
    assert list(tmp_path.iterdir()) == []


USAGE = {
    "no prompt": (["--pretrained_model_name_or_path=" + BASE], "--prompt"),
    "no model": (["--prompt=x"], "--pretrained_model_name_or_path"),
    "size not divisible by 8": (["--height=60"], "multiple of 8"),
    "no steps": (["--num_inference_steps=0"], "num_inference_steps"),
    "too many steps": (["--num_inference_steps=2000"], "1000"),
    "unknown scheduler": (["--scheduler=heun"], "dpmsolver++"),
    "fp16 on a CPU": (["--dtype=fp16"], "bf16"),
    "scale without a LoRA": (["--scale=0.5"], "--lora"),
    "scale that is no number": (["--lora=x", "--scale=0,a"], "0,a"),
    "scale given twice": (["--lora=x", "--scale=1,1.0"], "twice"),
    "three negative prompts for one": (["--negative_prompt=a", "--negative_prompt=b", "--negative_prompt=c"], "3 times"),
    "eta above 1": (["--eta=2"], "eta"),
    "unknown ending": (["--output=p.gif"], ".gif"),
    "unknown device": (["--device=tpu"], "tpu"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_flags_exit_2_and_say_what_was_expected(case, tmp_path):
    flags, words = USAGE[case]
    if not case.startswith("no "):
        flags = [f"--pretrained_model_name_or_path={BASE}", "--prompt=x", "--device=cpu", f"--output={tmp_path}/p.png", *flags]
    if case == "no steps":
        flags = [f"--pretrained_model_name_or_path={BASE}", "--prompt=x", *flags]
    done = run(*flags)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def failure(flags):
    done = run("--prompt=x", "--num_inference_steps=1", "--device=cpu", *flags)
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_a_model_folder_that_is_not_there(tmp_path):
    assert "there is no folder ./nowhere" in failure(["--pretrained_model_name_or_path=./nowhere",
                                                      f"--output={tmp_path}/p.png"])


def test_a_hub_id_that_is_not_cached_names_the_download(tmp_path):
    done = run("--prompt=x", "--pretrained_model_name_or_path=owner/name", f"--output={tmp_path}/p.png",
               env={"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 1
    assert "owner/name" in done.stderr and "hub download owner/name" in done.stderr


def test_an_output_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    model = f"--pretrained_model_name_or_path={BASE}"
    assert "cannot write" in failure([model, f"--output={tmp_path}/file/p.png"])
    (tmp_path / "folder.png").mkdir()
    assert "it is a folder" in failure([model, f"--output={tmp_path}/folder.png"])


def test_a_lora_that_is_none(tmp_path):
    model = f"--pretrained_model_name_or_path={BASE}"
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    assert "bad.safetensors" in failure([model, f"--lora={tmp_path}/bad.safetensors", f"--output={tmp_path}/p.png"])
    assert "none.safetensors" in failure([model, f"--lora={tmp_path}/none.safetensors", f"--output={tmp_path}/p.png"])
    assert not (tmp_path / "p.png").exists()


def test_a_pipeline_of_another_kind_is_refused_by_name(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    assert "StableDiffusionXLPipeline" in failure([f"--pretrained_model_name_or_path={tmp_path}",
                                                   f"--output={tmp_path}/p.png"])

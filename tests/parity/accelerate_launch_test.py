"""`accelerate launch --no_python lorikeet ...` with one process, as the guides start the script."""

import os
import subprocess
import sys

import pytest

from conftest import ROOT

LORA = "pytorch_lora_weights.safetensors"


def words(base_model, output, *more):
    return [os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet")), "train", "dreambooth",
            f"--pretrained_model_name_or_path={base_model}", f"--instance_data_dir={ROOT / 'examples/demo-subject'}",
            "--instance_prompt=sks cat face", "--resolution=64", "--train_batch_size=1", "--max_train_steps=2", "--rank=2",
            "--seed=0", "--report_to=jsonl", f"--output_dir={output}", *more]  # fmt: skip


@pytest.fixture
def environment(tmp_path):
    """None of this machine's own settings of accelerate."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ACCELERATE_", "LOCAL_RANK", "WORLD_SIZE"))}
    return {**kept, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}


def run(command, environment):
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def launch(options, command, environment):
    return run([sys.executable, "-m", "accelerate.commands.launch", *options, "--no_python", *command], environment)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_launched_run_is_the_run_with_that_precision(base_model, tmp_path, environment, precision):
    direct = run(words(base_model, tmp_path / "direct", "--device=cpu", f"--mixed_precision={precision}"), environment)
    assert direct.returncode == 0, direct.stderr
    launched = launch(["--cpu", "--num_processes=1", f"--mixed_precision={precision}"],
                      words(base_model, tmp_path / "launched"), environment)  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    assert f", {'fp32' if precision == 'no' else precision}\n" in launched.stderr
    assert (tmp_path / "launched" / LORA).read_bytes() == (tmp_path / "direct" / LORA).read_bytes()


def test_the_flag_goes_before_the_launcher(base_model, tmp_path, environment):
    launched = launch(["--cpu", "--mixed_precision=bf16"],
                      words(base_model, tmp_path / "out", "--mixed_precision=no", "--dry_run"), environment)  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    assert ", fp32\n" in launched.stdout


def test_fp16_from_the_launcher_is_refused_on_a_cpu(base_model, tmp_path, environment):
    launched = launch(["--cpu", "--mixed_precision=fp16"], words(base_model, tmp_path / "out"), environment)
    assert launched.returncode != 0
    assert "--mixed_precision=fp16 needs a GPU" in launched.stderr
    assert not (tmp_path / "out").exists()

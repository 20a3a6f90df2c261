"""The command line as people meet it: help, errors with their hints and exit codes, config files, and the contracts."""

import json
import os
import re
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

PROGRAM = os.environ.get("LORIKEET_PROGRAM", "build/lorikeet")
BASE = "models/lorikeet-base"
PICTURES = "examples/demo-subject"
COMMANDS = [
    "train dreambooth", "train text-to-image", "generate", "lora inspect", "lora convert", "lora merge", "lora fuse",
    "lora extract", "lora resize", "lora diff", "auth login", "auth logout", "auth whoami", "auth list", "auth switch",
    "hub download", "hub ls", "hub upload", "hub cache ls", "hub cache rm", "hub cache prune", "hub cache verify", "doctor",
    "version",
]  # fmt: skip
FLAGS = [f"--pretrained_model_name_or_path={BASE}", f"--instance_data_dir={PICTURES}", "--instance_prompt=sks cat face",
         "--resolution=64", "--train_batch_size=1", "--device=cpu", "--seed=0"]
LAUNCHER = ["WORLD_SIZE", "LOCAL_RANK", "ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_CPU"]


def environment(**extra):
    clean = {name: value for name, value in os.environ.items() if name not in LAUNCHER}
    return {**clean, "LC_ALL": "C.UTF-8", **extra}


def run(*words, **extra):
    return subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=120,
                          env=environment(**extra))


def train(*flags, **extra):
    return run("train", "dreambooth", *flags, **extra)


def refused(done, code, message, hint=None):
    """The program ended with `code` after exactly one error line, and its hint."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == f"lorikeet: error: {message}"
    if hint is not None:
        assert lines[1:] == [f"  hint: {hint}"]
    assert done.stdout == ""


# Help

@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_lists_every_command(words):
    done = run(*words)
    assert done.returncode == 0 and done.stderr == ""
    assert re.findall(r"^  (\S+(?: \S+)*)  +\S", done.stdout, re.MULTILINE) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_grouped_and_fits_the_screen(command):
    done = run(*command.split(), "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == run("help", *command.split()).stdout
    assert re.match(rf"Usage: lorikeet {command}( [A-Z]+(\.\.\.)?)* \[OPTIONS\]\n", done.stdout)
    prose = [line for line in done.stdout.splitlines() if not line.startswith("  --")]
    assert max(map(len, prose)) <= 100


def test_help_of_training_shows_groups_defaults_and_ranges():
    text = train("--help").stdout
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    for heading in ["Model", "Pictures and prompts", "Prior preservation", "LoRA", "Output", "Lorikeet"]:
        assert heading in headings
    assert "  --instance_prompt=TEXT  (required)\n" in text
    assert "  --resolution=N  (default 512; a multiple of 8, at least 8)\n" in text
    assert "  --center_crop\n" in text


def test_help_takes_less_than_half_a_second():
    """Processor time, so that other programs running beside the test do not count."""
    def spent():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    run("--help")  # from the disk once
    before = spent()
    run("train", "dreambooth", "--help")
    assert spent() - before < 0.5


def test_version():
    done = run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"lorikeet \d+\.\d+\.\d+\nlibtorch 2\.11\.0\S*\n", done.stdout)
    assert done.stdout == run("version").stdout


# Words that are wrong

def test_unknown_commands():
    refused(run("generat"), 2, "unknown command 'generat'", "did you mean `lorikeet generate`?")
    refused(run("xyzzy"), 2, "unknown command 'xyzzy'", "`lorikeet help` lists the commands")
    refused(run("train"), 2, "lorikeet train: one of dreambooth, text-to-image expected, found none")
    refused(run("train", "dreamboth"), 2, "lorikeet train: one of dreambooth, text-to-image expected, found 'dreamboth'")
    refused(run("hub", "cach"), 2, "lorikeet hub: one of download, ls, upload, cache expected, found 'cach'")
    refused(run("hub", "cache"), 2, "lorikeet hub cache: one of ls, rm, prune, verify expected, found none",
            "`lorikeet help hub cache ls` describes it")
    refused(run("help", "traim"), 2, "unknown command 'traim'")


@pytest.mark.parametrize("flag, message, hint", [
    ("--learnin_rte=1", "unknown option --learnin_rte", "did you mean --learning_rate?"),
    ("--learning-rate=1", "unknown option --learning-rate", "did you mean --learning_rate?"),
    ("--xyzzy", "unknown option --xyzzy", "`--help` lists all options"),
    ("photos", "an option expected, found 'photos'",
     "options begin with --; put quotes around a value with spaces in it"),
    ("--rank=four", "--rank: a whole number expected, found 'four'", "`--help` describes --rank"),
    ("--rank=0", "--rank: at least 1 expected, found '0'", "`--help` describes --rank"),
    ("--resolution=100", "--resolution: a multiple of 8, at least 8 expected, found '100'",
     "`--help` describes --resolution"),
    ("--learning_rate=nan", "--learning_rate: a finite number expected, found 'nan'",
     "`--help` describes --learning_rate"),
    ("--lr_scheduler=cosin",
     "--lr_scheduler: one of linear, cosine, cosine_with_restarts, polynomial, constant, constant_with_warmup expected, "
     "found 'cosin'", "did you mean --lr_scheduler=cosine?"),
    ("--output_dir", "--output_dir: a value expected, found none", "write --output_dir=VALUE"),
    ("--mixed_precision=fp16", "--mixed_precision=fp16 needs a GPU, and this run is on the CPU",
     "use --mixed_precision=bf16 or --mixed_precision=no"),
    ("--with_prior_preservation", "--with_prior_preservation needs --class_data_dir",
     "give a folder; it is made and filled when it does not exist"),
    ("--report_to=comet_ml", "--report_to=comet_ml is not available; expected tensorboard, wandb, jsonl, several of them by "
     "comma, all or none", "every run also writes a .jsonl log, which other trackers can be fed from"),
    ("--report_to=tensorbord", "--report_to is 'tensorbord'; expected tensorboard, wandb, jsonl, several of them by comma, "
     "all or none", "did you mean tensorboard?"),
    ("--class_labels_conditioning=timesteps",
     "--class_labels_conditioning is for DeepFloyd IF's upscaler; Stable Diffusion's UNet takes no class labels",
     "leave it out"),
    ("--validation_images=a.png",
     "--validation_images is for models that start from a picture, such as DeepFloyd IF's upscaler",
     "leave it out; --validation_prompt alone draws validation pictures"),
])
def test_wrong_options_exit_2_with_a_hint(flag, message, hint, tmp_path):
    output = tmp_path / "out"
    refused(train(*FLAGS, f"--output_dir={output}", flag), 2, message, hint)
    assert not output.exists()


@pytest.mark.parametrize("name", ["pretrained_model_name_or_path", "instance_data_dir", "instance_prompt"])
def test_required_options(name):
    flags = [flag for flag in FLAGS if not flag.startswith(f"--{name}=")]
    refused(train(*flags), 2, f"--{name} is required", f"give --{name}=..., or put it into a --config file")


def test_two_options_that_exclude_each_other():
    refused(train(*FLAGS, "--train_text_encoder", "--pre_compute_text_embeddings"), 2,
            "--train_text_encoder cannot be used with --pre_compute_text_embeddings")


# What accelerate launch puts into the environment

def test_several_processes_are_refused():
    refused(train(*FLAGS, "--dry_run", WORLD_SIZE="2"), 2,
            "training in several processes is not available yet, and WORLD_SIZE is 2",
            "launch one process: `accelerate launch --num_processes=1 --no_python lorikeet ...`")


def test_precision_comes_from_the_environment_unless_it_is_given():
    launched = {"ACCELERATE_MIXED_PRECISION": "bf16", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    assert ", bf16\n" in train(*FLAGS, "--dry_run", **launched).stdout
    assert ", fp32\n" in train(*FLAGS, "--dry_run", "--mixed_precision=no", **launched).stdout
    done = train(*FLAGS, "--dry_run", ACCELERATE_MIXED_PRECISION="fp8")
    refused(done, 2, "the environment's ACCELERATE_MIXED_PRECISION: one of no, fp16, bf16 expected, found 'fp8'")


# Files

def test_missing_files_exit_1(tmp_path):
    done = train(*FLAGS, f"--pretrained_model_name_or_path={tmp_path / 'absent'}", "--dry_run")
    assert done.returncode == 1
    assert done.stderr.startswith("lorikeet: error: ") and "absent" in done.stderr and "\n  hint: " in done.stderr
    refused(train(f"--config={tmp_path / 'absent.toml'}"), 1, f"--config: no file {tmp_path / 'absent.toml'}",
            "check the path given to --config")


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path):
    output = tmp_path / "out"
    done = train(*FLAGS, f"--output_dir={output}", "--max_train_steps=1500", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"Device: .+, fp32\nPictures: 5 of the subject\nSteps: 1,500 of batch 1, 300 epochs of 5 batches\n"
        r"Trained: [\d,]+ parameters in \d+ layers\nMemory: about .+\n", done.stdout)
    assert not output.exists()


def test_options_come_from_the_command_line_then_the_config_file_then_the_defaults(tmp_path):
    values = {"pretrained_model_name_or_path": BASE, "instance_data_dir": PICTURES, "instance_prompt": "sks cat face",
              "resolution": 64, "device": "cpu", "train_batch_size": 1, "max_train_steps": 20, "center_crop": True}
    as_json = tmp_path / "run.json"
    as_json.write_text(json.dumps(values))
    as_toml = tmp_path / "run.toml"
    as_toml.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    for config in as_json, as_toml:
        done = train("--dry_run", "--max_train_steps=40", f"--config={config}")
        assert done.returncode == 0, done.stderr
        assert "Steps: 40 of batch 1, 8 epochs of 5 batches\n" in done.stdout


@pytest.mark.parametrize("name, text, message", [
    ("run.toml", "rnk = 4\n", "unknown option --rnk"),
    ("run.toml", "rank = 'four'\n", "rank: a whole number expected, found \"four\""),
    ("run.json", '{"center_crop": 1}', "center_crop: true or false expected, found 1"),
])
def test_config_errors_name_the_file(name, text, message, tmp_path):
    config = tmp_path / name
    config.write_text(text)
    refused(train(f"--config={config}"), 2, f"{config}: {message}")


# Stopping

def test_an_interrupt_leaves_a_checkpoint_and_exits_130(tmp_path):
    output = tmp_path / "out"
    program = subprocess.Popen([PROGRAM, "train", "dreambooth", *FLAGS, f"--output_dir={output}",
                                "--max_train_steps=100000"], stderr=subprocess.PIPE, text=True, env=environment())
    log = output / "logs" / "dreambooth-lora.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size > 0):
        assert program.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 130, errors
    assert "on request" in errors and "hint: " in errors and "--resume_from_checkpoint=latest" in errors
    (checkpoint,) = output.glob("checkpoint-*")
    assert (checkpoint / "pytorch_lora_weights.safetensors").stat().st_size > 0


# Doctor

def test_doctor_tells_the_same_as_text_and_as_json():
    text, report = run("doctor"), json.loads(run("doctor", "--json").stdout)
    assert text.returncode == 0
    assert list(report) == ["machine", "libtorch", "gpu", "caches", "disk", "notes"]
    for section in ["machine", "libtorch", "gpu", "caches", "disk"]:
        assert f"\n{section}:\n" in "\n" + text.stdout
    assert report["machine"]["usable_cores"] >= 1 and report["machine"]["memory_bytes"] > 0
    assert report["libtorch"]["version"].startswith("2.11.0")
    assert Path(report["libtorch"]["library"]).is_file()
    assert isinstance(report["gpu"]["usable"], bool)
    assert f"  processor: {report['machine']['processor']}\n" in text.stdout


def test_doctor_finds_the_cache_where_the_environment_says(tmp_path):
    (tmp_path / "hub" / "models--owner--name").mkdir(parents=True)
    report = json.loads(run("doctor", "--json", HF_HOME=str(tmp_path), HF_HUB_CACHE="", HUGGINGFACE_HUB_CACHE="").stdout)
    assert report["caches"]["hugging_face_hub"] == str(tmp_path / "hub")
    assert report["caches"]["models"] == 1


DRIVER = """
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int* count) { *count = 1; return 0; }
int cuDriverGetVersion(int* version) { *version = 13010; return 0; }
int cuDeviceGetName(char* name, int length, int device) { strncpy(name, "Test GPU", length); return 0; }
int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = (size_t)80 << 30; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) { *value = attribute == 75 ? 9 : 0; return 0; }
"""


def test_doctor_asks_the_driver_and_says_when_libtorch_cannot_use_the_gpu(tmp_path):
    (tmp_path / "driver.c").write_text(DRIVER)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", tmp_path / "driver.c"], check=True)
    report = json.loads(run("doctor", "--json", LD_LIBRARY_PATH=str(tmp_path)).stdout)
    assert report["gpu"]["driver"] == "for CUDA up to 13.1"
    assert report["gpu"]["gpu_0"] == "Test GPU, 80.0 GiB, compute capability 9.0"
    assert report["gpu"]["usable"] is False
    assert report["notes"][0].startswith("There is a GPU, but libtorch cannot use it: ")


# Contracts: scripts/cli_pages.sh writes them anew

def test_the_options_are_those_of_the_contract():
    assert run("help", "--contract").stdout == Path("tests/data/cli_contract.txt").read_text()


def test_the_pages_of_docs_are_current():
    index = run("help", "--markdown").stdout
    assert Path("docs/cli/README.md").read_text() == index
    pages = re.findall(r"\[`lorikeet (.+?)`\]\((.+?)\)", index)
    assert [command for command, _ in pages] == COMMANDS
    assert {page.name for page in Path("docs/cli").iterdir()} == {"README.md", *(name for _, name in pages)}
    for command, name in pages:
        assert Path("docs/cli", name).read_text() == run("help", "--markdown", *command.split()).stdout

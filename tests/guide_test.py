"""The stories of Diffusers' LoRA guides, as people type them, with a Hub whose model and data sets exist nowhere else.

The commands are those of examples/dreambooth/README.md and docs/source/en/training/lora.md (diffusers 58eb52c0); what is
changed in them stands in CHANGES. The model is tests/small_model.py under the guides' id.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_model
from hub_dataset_scenarios import card, parquet
from hub_server import HubServer
from huggingface_hub import ModelCard
from PIL import Image
from run_support import LORA, PROGRAM, ROOT

MODEL, DOGS, NARUTO = "stable-diffusion-v1-5/stable-diffusion-v1-5", "diffusers/dog-example", "lambdalabs/naruto-blip-captions"
EXAMPLE = Path(os.environ.get("LORIKEET_BUILD_DIR", ROOT / "build")) / "generate_example"
PROMPT = "A picture of a sks dog in a bucket"
TOKEN = "hf_tester"

DREAMBOOTH = r"""
export MODEL_NAME="stable-diffusion-v1-5/stable-diffusion-v1-5"
export INSTANCE_DIR="dog"
export OUTPUT_DIR="path-to-save-model"

accelerate launch train_dreambooth_lora.py \
  --pretrained_model_name_or_path=$MODEL_NAME  \
  --instance_data_dir=$INSTANCE_DIR \
  --output_dir=$OUTPUT_DIR \
  --instance_prompt="a photo of sks dog" \
  --resolution=512 \
  --train_batch_size=1 \
  --gradient_accumulation_steps=1 \
  --checkpointing_steps=100 \
  --learning_rate=1e-4 \
  --report_to="wandb" \
  --lr_scheduler="constant" \
  --lr_warmup_steps=0 \
  --max_train_steps=500 \
  --validation_prompt="A photo of sks dog in a bucket" \
  --validation_epochs=50 \
  --seed="0" \
  --push_to_hub
"""

TEXT_TO_IMAGE = r"""
export MODEL_NAME="stable-diffusion-v1-5/stable-diffusion-v1-5"
export OUTPUT_DIR="/sddata/finetune/lora/naruto"
export HUB_MODEL_ID="naruto-lora"
export DATASET_NAME="lambdalabs/naruto-blip-captions"

accelerate launch --mixed_precision="fp16"  train_text_to_image_lora.py \
  --pretrained_model_name_or_path=$MODEL_NAME \
  --dataset_name=$DATASET_NAME \
  --dataloader_num_workers=8 \
  --resolution=512 \
  --center_crop \
  --random_flip \
  --train_batch_size=1 \
  --gradient_accumulation_steps=4 \
  --max_train_steps=15000 \
  --learning_rate=1e-04 \
  --max_grad_norm=1 \
  --lr_scheduler="cosine" \
  --lr_warmup_steps=0 \
  --output_dir=${OUTPUT_DIR} \
  --push_to_hub \
  --hub_model_id=${HUB_MODEL_ID} \
  --report_to=wandb \
  --checkpointing_steps=500 \
  --validation_prompt="A naruto with blue eyes." \
  --seed=1337
"""

CHANGES = {
    DREAMBOOTH: [("accelerate launch train_dreambooth_lora.py", "lorikeet train dreambooth"), ("=500 ", "=3 ")],
    # A CPU has no fp16, four pictures twice take half a minute, and nobody has that folder.
    TEXT_TO_IMAGE: [
        ('accelerate launch --mixed_precision="fp16"  train_text_to_image_lora.py', "lorikeet train text-to-image"),
        ("=15000 ", "=2 "),
        ("/sddata/finetune/lora/naruto", "naruto"),
        ("--seed=1337", "--seed=1337 --num_validation_images=1"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model.make(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def hub(model, tmp_path_factory):
    with HubServer(tmp_path_factory.mktemp("hub")) as hub:
        hub.put_repo(MODEL, model)
        hub.put_repo(DOGS, ROOT / "examples/demo-subject", "dataset")
        captions = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
        hub.put_repo(NARUTO, card(captions) | {"data/train-00000-of-00001.parquet": parquet(range(7))}, "dataset")
        yield hub
        assert not hub.leaks


@pytest.fixture(scope="module")
def desk(hub, tmp_path_factory):
    """An empty folder where people type, and what they type runs in it; its words are kept."""
    return Desk(hub, tmp_path_factory.mktemp("desk"))


class Desk:
    def __init__(self, hub, folder):
        self.hub, self.folder = hub, folder / "here"
        (folder / "bin").mkdir()
        self.folder.mkdir()
        (folder / "bin/lorikeet").symlink_to(PROGRAM)
        self.env = hub.environment(folder / "home", TOKEN) | {"PATH": f"{folder}/bin:/usr/bin:/bin", "WANDB_MODE": "offline",
                                                              "HOME": str(folder), "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip

    def type(self, script):
        """What a shell showed of it."""
        done = subprocess.run(["bash", "-euc", script], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        assert TOKEN not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def guide(self, script):
        for theirs, ours in CHANGES[script]:
            assert script.count(theirs) == 1
            script = script.replace(theirs, ours)
        return self.type(script)

    def official(self, code):
        done = subprocess.run([sys.executable, "-c", "from huggingface_hub import *\n" + code], env=self.env | {"HF_HOME": "theirs"},
                              cwd=self.folder, capture_output=True, text=True, timeout=60)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def pixels(self, name):
        return np.asarray(Image.open(self.folder / name), int)


def check_repository(desk, id, output, metadata, pictures):
    """What the official client gets of it: the LoRA, the pictures and a card that the Hub accepts, and nothing else."""
    code = f"ModelCard.load('{id}').validate(repo_type='model')\nprint(snapshot_download('{id}'))"
    snapshot = desk.folder / desk.official(code)
    names = {str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()}
    assert names == {".gitattributes", "README.md", LORA} | {f"image_{i}.png" for i in range(pictures)}
    for name in names - {".gitattributes"}:
        assert (snapshot / name).read_bytes() == (output / name).read_bytes(), name
    assert Image.open(snapshot / "image_0.png").size == (512, 512)
    about = ModelCard.load(snapshot / "README.md").data.to_dict()
    assert {"text-to-image", "diffusers", "lora", "diffusers-training"} <= set(about.pop("tags"))
    assert about == {"base_model": MODEL, "library_name": "diffusers", "license": "creativeml-openrail-m", "inference": True} | metadata


def check_tracking(desk, output, steps, pictures):
    """One W&B run, of which the program told how to upload it; the token is nowhere."""
    (file,) = (output / "logs/wandb").glob("offline-run-*/run-*.wandb")
    assert len(list((file.parent / "files/media/images").iterdir())) == pictures
    (log,) = (output / "logs").glob("*.jsonl")
    losses = [line for line in map(json.loads, log.read_text().splitlines()) if "loss" in line or "train_loss" in line]
    assert max(line["step"] for line in losses) == steps
    for path in [*desk.folder.parent.rglob("*"), *desk.hub.folder.rglob("*")]:
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
    return file.parent


@pytest.fixture(scope="module")
def dreambooth(desk):
    fetch = f"lorikeet hub download {DOGS} --repo_type=dataset --exclude=.gitattributes"
    desk.type(f'ln -s "$({fetch})" dog')
    return desk.guide(DREAMBOOTH)


def test_the_dreambooth_guide_trains_and_pushes(desk, dreambooth):
    output, id = desk.folder / "path-to-save-model", "tester/path-to-save-model"
    assert f"On the Hub: {desk.hub.url}/{id}/commit/" in dreambooth
    check_repository(desk, id, output, {"instance_prompt": "a photo of sks dog"}, 4)
    run = check_tracking(desk, output, 3, 8)
    assert f"wandb sync {run}" in dreambooth


def test_the_dreambooth_guide_s_inference(desk, dreambooth, model):
    """In C++ with ids as the guide's in Python, on the command line with ids, and the same from folders."""
    id, output = "tester/path-to-save-model", "path-to-save-model"
    found = ModelCard(desk.hub.files(id)["README.md"].decode())
    desk.type(f"{EXAMPLE} {found.data.base_model} {id} '{PROMPT}' example.png")
    draw = f"--prompt='{PROMPT}' --num_inference_steps=25 --guidance_scale=7.5 --seed=0"
    desk.type(f"lorikeet generate --pretrained_model_name_or_path={MODEL} --lora={id} --scale=0,0.5,1 {draw} --output=ids.png")
    asked = len(desk.hub.requests)
    desk.type(f"lorikeet generate --pretrained_model_name_or_path={model} --lora={output} --scale=0.5 {draw} --output=folders.png")
    assert len(desk.hub.requests) == asked
    none, half, whole = (desk.pixels(f"ids-scale{scale}.png") for scale in ("0", "0.5", "1"))
    assert np.array_equal(half, desk.pixels("folders.png")) and np.array_equal(half, desk.pixels("example.png"))
    assert half.shape == (512, 512, 3) and not np.array_equal(none, half) and not np.array_equal(half, whole)


def test_the_text_to_image_guide(desk):
    """Model and data set are the Hub's; what it pushes draws there, too."""
    shown = desk.guide(TEXT_TO_IMAGE)
    output, id = desk.folder / "naruto", "tester/naruto-lora"
    assert "Pictures: 7" in shown and f"On the Hub: {desk.hub.url}/{id}/commit/" in shown
    check_repository(desk, id, output, {}, 1)
    check_tracking(desk, output, 2, 2)
    assert f"--dataset_name={NARUTO}" in desk.hub.files(id)["README.md"].decode()
    draw = f"lorikeet generate --pretrained_model_name_or_path={MODEL} --prompt='A naruto with blue eyes' --num_inference_steps=2 --seed=0"
    desk.type(f"{draw} --lora={id} --output=naruto.png\n{draw} --lora=naruto --output=same.png")
    assert np.array_equal(desk.pixels("naruto.png"), desk.pixels("same.png"))

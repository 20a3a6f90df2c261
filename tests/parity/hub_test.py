"""The Hub between us and the Python libraries: a LoRA we pushed in Diffusers, our card beside its scripts', data sets read live."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hub_datasets
import numpy as np
import pytest
from hub_server import HubServer
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
LORA = "pytorch_lora_weights.safetensors"
MODEL, PROMPT = "someone/lorikeet-base", "a photo of sks cat"
CLOSEST = 2  # of 255, as in generate_test.py
# A few of each kind: the whole trace is tools/reference/hub_datasets.py's to renew.
LIVE = ["parquet-shards", "parquet-splits-by-name", "card-default-true", "card-config-missing", "card-splits-of-lists", "card-list-overlaps",
        "card-data-dir-and-files", "standalone-yaml-over-the-card", "folder-csv", "folder-splits", "folder-order-in-folders",
        "folder-keyword-in-some-names", "folder-data-dir", "script-converted"]  # fmt: skip
# In processes of their own: the libraries read HF_ENDPOINT when they are imported.
DRAW = """
import sys, torch
from diffusers import StableDiffusionPipeline
from peft.utils import get_peft_model_state_dict
torch.set_num_threads(1)
model, lora, folder = sys.argv[1:]
pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
pipeline.set_progress_bar_config(disable=True)
def draw(name, **more):
    pipeline("red apple", num_inference_steps=10, generator=torch.Generator().manual_seed(0), **more).images[0].save(f"{folder}/{name}.png")
draw("theirs-base")
pipeline.load_lora_weights(lora)
held = [get_peft_model_state_dict(m, adapter_name="default_0") for m in (pipeline.unet, pipeline.text_encoder) if hasattr(m, "peft_config")]
print("tensors:", sum(map(len, held)), file=sys.stderr)
draw("theirs-0.5", cross_attention_kwargs={"scale": 0.5})
draw("theirs-1")
"""
CARD = """
import json, sys
from diffusers.utils.hub_utils import load_or_create_model_card, populate_model_card
id, base, prompt, tags, file = sys.argv[1:]
card = load_or_create_model_card(repo_id_or_path=id, from_training=True, license="creativeml-openrail-m", base_model=base,
                                 prompt=prompt or None, model_description="# Some words", inference=True)
populate_model_card(card, tags=tags.split(",")).save(file)
"""
TAGS = {
    "dreambooth": "text-to-image,diffusers,lora,diffusers-training,stable-diffusion,stable-diffusion-diffusers",
    "text-to-image": "stable-diffusion,stable-diffusion-diffusers,text-to-image,diffusers,diffusers-training,lora",
}


@pytest.fixture(scope="module")
def hub(base_model, tmp_path_factory):
    with HubServer(tmp_path_factory.mktemp("hub")) as hub:
        hub.put_repo(MODEL, base_model)
        yield hub
    assert not hub.leaks


def python(hub, home, code, *arguments):
    """What it said on standard error."""
    env = hub.environment(home) | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def lorikeet(hub, home, *words):
    program = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
    env = hub.environment(home) | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([program, *map(str, words)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def train(hub, folder, recipe, *more):
    """Two strong steps, pushed as tester/RECIPE."""
    pictures = {"dreambooth": [f"--instance_data_dir={ROOT}/examples/demo-subject", f"--instance_prompt={PROMPT}"],
                "text-to-image": [f"--train_data_dir={ROOT}/examples/demo-style", "--max_train_samples=4"]}  # fmt: skip
    lorikeet(hub, folder / "home", "train", recipe, f"--pretrained_model_name_or_path={MODEL}", *pictures[recipe], "--resolution=64",
             "--rank=4", "--train_batch_size=1", "--learning_rate=2e-2", "--max_train_steps=2", "--seed=0", "--device=cpu", "--push_to_hub",
             f"--output_dir={folder / recipe}", *more)  # fmt: skip
    return f"tester/{recipe}"


@pytest.mark.parametrize("more", [[], ["--train_text_encoder"]], ids=["unet", "text_encoder"])
def test_diffusers_draws_with_a_pushed_lora_what_we_draw(hub, tmp_path, more):
    id = train(hub, tmp_path, "dreambooth", *more)
    said = python(hub, tmp_path / "their home", DRAW, MODEL, id, tmp_path)
    assert "unexpected keys" not in said and "missing keys" not in said, said
    snapshots = tmp_path / "their home/hub/models--tester--dreambooth/snapshots"
    (fetched,) = snapshots.glob(f"*/{LORA}")
    assert fetched.read_bytes() == (tmp_path / "dreambooth" / LORA).read_bytes()
    assert f"tensors: {len(load_file(fetched))}\n" in said
    for scale in ("0.5", "1"):
        lorikeet(hub, tmp_path / "home", "generate", f"--pretrained_model_name_or_path={MODEL}", f"--lora={id}", f"--scale={scale}",
                 "--prompt=red apple", "--seed=0", "--num_inference_steps=10", "--device=cpu", f"--output={tmp_path}/ours-{scale}.png")  # fmt: skip
        pixels = {name: np.asarray(Image.open(tmp_path / f"{name}.png"), int) for name in (f"theirs-{scale}", f"ours-{scale}", "theirs-base")}
        assert np.abs(pixels[f"ours-{scale}"] - pixels[f"theirs-{scale}"]).max() <= CLOSEST
        assert np.abs(pixels["theirs-base"] - pixels[f"theirs-{scale}"]).max() > 10 * CLOSEST


@pytest.mark.parametrize("recipe", TAGS)
def test_the_card_s_metadata_is_that_of_the_scripts(hub, tmp_path, recipe):
    id = train(hub, tmp_path, recipe)
    ours = ModelCard(hub.files(id)["README.md"].decode())
    prompt = PROMPT if recipe == "dreambooth" else ""
    python(hub, tmp_path / "home", CARD, "tester/none", MODEL, prompt, TAGS[recipe], tmp_path / "README.md")
    theirs = ModelCard.load(tmp_path / "README.md")
    assert ours.data.to_dict() == theirs.data.to_dict()
    assert list(ours.data.to_dict()) == list(theirs.data.to_dict())
    validate = f"from huggingface_hub import ModelCard\nModelCard.load('{id}').validate(repo_type='model')"
    asked = len(hub.requests)
    python(hub, tmp_path / "home", validate)
    assert [(r.path, r.status) for r in hub.requests[asked:]][-1] == ("/api/validate-yaml", 200)


def test_diffusers_scripts_find_our_card_and_keep_it(hub, tmp_path):
    """A second training, of theirs, on a repository that we made: its tags come to ours."""
    id = train(hub, tmp_path, "dreambooth")
    python(hub, tmp_path / "home", CARD, id, "other/base", "other prompt", "their-tag", tmp_path / "README.md")
    ours, theirs = ModelCard(hub.files(id)["README.md"].decode()), ModelCard.load(tmp_path / "README.md")
    assert theirs.data.to_dict() == ours.data.to_dict() | {"tags": [*ours.data.tags, "their-tag"]}
    assert theirs.text == ours.text


def test_datasets_reads_what_the_trace_says():
    trace = json.loads((ROOT / "tests/data/hub_datasets.json").read_text())
    assert hub_datasets.record(LIVE) == {name: trace[name] for name in LIVE}


def test_the_trace_holds_every_scenario():
    import hub_dataset_scenarios

    trace = json.loads((ROOT / "tests/data/hub_datasets.json").read_text())
    assert list(trace) == list(hub_dataset_scenarios.scenarios())

"""Our event files beside those of accelerate's own TensorBoard tracker, for the calls Diffusers' scripts make."""

import io
import json
import os
import subprocess
import types
from pathlib import Path

import numpy as np
import torch  # noqa: F401  (accelerate's tracker takes torch's SummaryWriter)
from accelerate.tracking import TensorBoardTracker
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import plugin_data_pb2

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LORIKEET_BUILD_DIR", ROOT / "build"))
CONFIG = {"seed": 0, "learning_rate": 1e-4, "instance_prompt": "a photo", "with_prior_preservation": True, "revision": None}
LOSSES = [0.25, 0.1, 1 / 3]
PICTURES = np.random.default_rng(0).integers(0, 256, (11, 8, 12, 3)).astype(np.uint8)


def run_ours(folder):
    names = []
    for i, pixels in enumerate(PICTURES):
        names.append(str(folder / f"{i}.png"))
        Image.fromarray(pixels).save(names[-1])
    grid = f"grid {folder}/grid.png 8 0 " + " ".join(names) + "\n"
    subprocess.run([BUILD / "image_tool"], input=grid, text=True, check=True)
    lines = ["config " + json.dumps(CONFIG)]
    for step, loss in enumerate(LOSSES, 1):
        lines += [f"scalar loss {loss!r} {step}", f"scalar lr 0.0001 {step}"]
    lines += ["images validation 0 " + names[0], "images test 50 " + " ".join(names)]
    subprocess.run([BUILD / "tracking_tool", folder], input="\n".join(lines), text=True, check=True)


def run_accelerate(folder):
    tracker = TensorBoardTracker("run", folder)
    tracker.start()
    tracker.store_init_configuration(CONFIG)
    for step, loss in enumerate(LOSSES, 1):
        tracker.log({"loss": loss, "lr": 1e-4}, step=step)
    tracker.writer.add_images("validation", PICTURES[:1], 0, dataformats="NHWC")
    tracker.writer.add_images("test", PICTURES, 50, dataformats="NHWC")
    tracker.finish()


def folder_shape(folder):
    """The files below a folder, times and process numbers left out."""
    files = [path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file()]
    return sorted((len(path.parts), path.name.split(".")[0]) for path in files)


def hparams(folder):
    (file,) = Path(folder).glob("*/events.out.tfevents.*")
    values = [value for event in EventFileLoader(str(file)).Load() for value in event.summary.value]
    return [(v.tag, plugin_data_pb2.HParamsPluginData.FromString(v.metadata.plugin_data.content)) for v in values]


def contents(folder):
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    tags = found.Tags()
    scalars = {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in tags["scalars"]}
    images = {}
    for tag in tags["images"]:
        for event in found.Images(tag):
            pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
            images[tag, event.step] = (event.width, event.height, pixels.tolist())
    return types.SimpleNamespace(scalars=scalars, images=images)


def test_ours_equals_accelerates(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    run_ours(ours)
    run_accelerate(theirs)
    assert folder_shape(ours / "run") == folder_shape(theirs / "run")
    assert hparams(ours / "run") == hparams(theirs / "run")
    a, b = contents(ours / "run"), contents(theirs / "run")
    assert a.scalars == b.scalars and set(a.scalars) == {"loss", "lr"}
    assert a.images == b.images and len(a.images) == 2

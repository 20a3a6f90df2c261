"""TensorBoard's own reader finds in our event files what it finds in those of torch's SummaryWriter."""

import io
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

TOOL = Path(os.environ.get("LORIKEET_BUILD_DIR", "build")) / "tracking_tool"
CONFIG = {
    "pretrained_model_name_or_path": "models/lorikeet-base",
    "instance_prompt": "a photo of sks \"cat\" — ünï: #1",
    "learning_rate": 1e-4,
    "adam_epsilon": 1e-08,
    "max_train_steps": 500,
    "prior_loss_weight": 1.0,
    "train_text_encoder": False,
    "with_prior_preservation": True,
    "class_prompt": None,
    "revision": "",
    "seed": 0,
    "tags": ["a", "b"],
}
LOSSES = [0.25, 0.1, 1 / 3, float("nan"), 0.0, 1e-30]


def png(color):
    out = io.BytesIO()
    Image.new("RGB", (12, 8), color).save(out, "PNG")
    return out.getvalue()


def run_tool(folder, lines, first_step=0):
    result = subprocess.run(
        [TOOL, folder, str(first_step)], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0 and result.stderr == "", result.stderr


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    for i, color in enumerate(["red", "green"]):
        (folder / f"{i}.png").write_bytes(png(color))
    (folder / "grid.png").write_bytes(png("blue"))
    lines = ["config " + json.dumps(CONFIG)]
    for step, loss in enumerate(LOSSES):
        lines += [f"scalar loss {loss!r} {step}", f"scalar lr 0.0001 {step}"]
    lines += [f"images validation 0 {folder}/0.png", f"images validation 50 {folder}/0.png {folder}/1.png"]
    lines += [f"images test 99 {folder}/1.png"]
    run_tool(folder, lines)
    return folder


def load(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def event_files(folder):
    return sorted(Path(folder).glob("events.out.tfevents.*"))


def torch_style(folder):
    """What torch's SummaryWriter does for the same calls, on the writer it uses itself."""
    writer = EventFileWriter(str(folder))

    def add(step, **value):
        event = event_pb2.Event(summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(**value)]))
        event.wall_time = 1.0
        event.step = step
        writer.add_event(event)

    def image(data):
        return summary_pb2.Summary.Image(height=8, width=12, colorspace=3, encoded_image_string=data)

    for step, loss in enumerate(LOSSES):
        add(step, tag="loss", simple_value=loss)
        add(step, tag="lr", simple_value=0.0001)
    for tag, step, color in [("validation", 0, "red"), ("validation", 50, "blue"), ("test", 99, "green")]:
        add(step, tag=tag, image=image(png(color)))
    writer.close()


def test_events_equal_torchs(ours, tmp_path):
    torch_style(tmp_path)

    def summaries(folder):
        (file,) = event_files(folder)
        events = []
        for line in EventFileLoader(str(file)).Load():
            line.wall_time = 0
            line.ClearField("source_metadata")
            events.append(line.SerializeToString(deterministic=True))
        return events

    assert summaries(ours / "run") == summaries(tmp_path)


def test_the_reader_finds_tags_steps_and_values(ours):
    found = load(ours / "run")
    assert sorted(found.Tags()["scalars"]) == ["loss", "lr"]
    assert sorted(found.Tags()["images"]) == ["test", "validation"]
    losses = found.Scalars("loss")
    assert [event.step for event in losses] == list(range(len(LOSSES)))
    np.testing.assert_array_equal([event.value for event in losses], np.array(LOSSES, np.float32))
    images = found.Images("validation")
    assert [(image.step, image.width, image.height) for image in images] == [(0, 12, 8), (50, 12, 8)]
    colors = [Image.open(io.BytesIO(image.encoded_image_string)).getpixel((0, 0)) for image in images]
    assert colors == [(255, 0, 0), (0, 0, 255)]


def test_hparams_are_torchs(ours):
    """The contents torch.utils.tensorboard.summary.hparams builds, except that it refuses lists."""
    sub_runs = sorted(path for path in (ours / "run").iterdir() if path.is_dir())
    assert len(sub_runs) == 2
    (file,) = [file for folder in sub_runs for file in event_files(folder)]
    values = [value for event in EventFileLoader(str(file)).Load() for value in event.summary.value]
    tags = ["_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"]
    assert [value.tag for value in values] == tags
    assert all(value.metadata.plugin_data.plugin_name == "hparams" for value in values)
    contents = [plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content) for value in values]

    logged = {name: value for name, value in CONFIG.items() if value is not None} | {"tags": '["a","b"]'}
    experiment, start, end = plugin_data_pb2.HParamsPluginData(), plugin_data_pb2.HParamsPluginData(), contents[2]
    for name, value in logged.items():
        is_text = isinstance(value, str)
        kind = api_pb2.DATA_TYPE_STRING if is_text else api_pb2.DATA_TYPE_FLOAT64
        experiment.experiment.hparam_infos.append(api_pb2.HParamInfo(name=name, type=kind))
        if is_text:
            start.session_start_info.hparams[name].string_value = value
        else:
            start.session_start_info.hparams[name].number_value = value
    assert contents[0] == experiment
    assert contents[1] == start
    assert end.session_end_info.status == api_pb2.STATUS_SUCCESS


def test_hparams_yaml_holds_the_config(ours):
    (file,) = (ours / "run").glob("*/hparams.yml")
    loaded = yaml.safe_load(file.read_text())
    assert loaded == CONFIG
    assert [type(loaded[name]) for name in CONFIG] == [type(value) for value in CONFIG.values()]


def test_a_resumed_run_overrules_what_it_makes_again(tmp_path):
    run_tool(tmp_path, [f"scalar loss {step}.0 {step}" for step in range(1, 8)])
    run_tool(tmp_path, [f"scalar loss {step}.5 {step}" for step in range(6, 10)], first_step=5)
    assert len(event_files(tmp_path / "run")) == 2
    expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 5.0), (6, 6.5), (7, 7.5), (8, 8.5), (9, 9.5)]
    assert [(event.step, event.value) for event in load(tmp_path / "run").Scalars("loss")] == expected
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == expected


def test_jsonl_is_json(ours):
    lines = [json.loads(line) for line in (ours / "run.jsonl").read_text().splitlines()]
    assert lines[0]["config"] == CONFIG
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses == [None if loss != loss else loss for loss in LOSSES]
    assert lines[-1]["images"] == {"test": [f"{ours}/1.png"]}

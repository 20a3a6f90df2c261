"""The official wandb package reads our .wandb files: its messages every record, its `wandb sync` all that it uploads.

wandb 0.31.0 has no reader in Python any more (wandb.sdk.internal.datastore is gone), so the chunks are taken apart here
and again, independently, by the Go program inside `wandb sync`, which uploads to a sink on this machine.
"""

import base64
import io
import json
import math
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image
from wandb.proto import wandb_internal_pb2 as pb
from wandb_sink import Sink

TOOL = (Path(os.environ.get("LORIKEET_BUILD_DIR", "build")) / "tracking_tool").absolute()
KEY = "0123456789abcdef0123456789abcdef01234567"
HUB_TOKEN = "hf_secretsecretsecret"
CONFIG = {
    "pretrained_model_name_or_path": "models/lorikeet-base",
    "instance_prompt": "a photo of sks \"cat\" — ünï: #1",
    "learning_rate": 1e-4,
    "max_train_steps": 500,
    "train_text_encoder": False,
    "class_prompt": None,
    "hub_token": None,
    "tags": ["a", "b"],
}
FINISHED = "wandb: to upload this run: "


def environment(home, **changes):
    """Nothing of the tester's own W&B set-up; `home` is where the official program keeps its files."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") and name != "NETRC"}
    own |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home), "XDG_DATA_HOME": str(home)}
    # Without the official program, unless a test puts it there.
    return own | {"PATH": "/usr/bin:/bin", "WANDB_ERROR_REPORTING": "false", "HF_TOKEN": HUB_TOKEN} | changes


def sync_environment(home, sink, **changes):
    path = f"{home}/bin:/usr/bin:/bin"
    (home / "bin").mkdir(parents=True, exist_ok=True)
    script = home / "bin" / "wandb"
    # Not the installed script itself: it holds the path of the venv it was made in.
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wandb "$@"\n')
    script.chmod(0o755)
    return environment(home, **{"PATH": path, "WANDB_BASE_URL": sink.url, "WANDB_API_KEY": KEY} | changes)


def upload_by_hand(home, part, env):
    program = home / "bin" / "wandb"
    subprocess.run([program, "sync", part], env=env, cwd=home, check=True, timeout=120, capture_output=True)


def png(folder, name, color):
    path = folder / f"{name}.png"
    if not path.exists():
        Image.new("RGB", (12, 8), color).save(path, "PNG")
    return path


def run_tool(folder, lines, first_step=0, code=0, env=None):
    """Returns what it showed. It is run in a folder that must stay empty."""
    elsewhere = Path(f"{folder}.elsewhere")
    elsewhere.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        [TOOL, folder, str(first_step), "wandb"],
        input="".join(line + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=120,
        env=env or environment(folder),
        cwd=elsewhere,
    )
    assert result.returncode == code, result.stderr
    assert not list(elsewhere.iterdir())
    return result.stderr


def read_records(file):
    data = file.read_bytes()
    assert data[:7] == b":W&B\xe1\xbe\x00"
    position, record, records = 7, b"", []
    while position < len(data):
        left = 32768 - position % 32768
        if left < 7:
            assert not any(data[position : position + left])
            position += left
            continue
        crc, size, kind = struct.unpack("<IHB", data[position : position + 7])
        chunk = data[position + 7 : position + 7 + size]
        assert zlib.crc32(bytes([kind]) + chunk) == crc
        position += 7 + size
        record = chunk if kind in (1, 2) else record + chunk
        if kind in (1, 4):
            records.append(pb.Record.FromString(record))
    assert [record.num for record in records] == list(range(1, len(records) + 1))
    return records


def parts(folder):
    return sorted(Path(folder).rglob("*.wandb"))


def only(folder, kind):
    (file,) = parts(folder)
    return [getattr(record, kind) for record in read_records(file) if record.WhichOneof("record_type") == kind]


def tree(items):
    """The nested values of history or summary items."""
    values = {}
    for item in items:
        *path, last = list(item.nested_key) or [item.key]
        inner = values
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = json.loads(item.value_json)
    return values


def rows(file):
    return [tree(record.history.item) for record in read_records(file) if record.HasField("history")]


def training(folder, steps=range(1, 6)):
    lines = ["config " + json.dumps(CONFIG)]
    for step in steps:
        lines += [f"scalar loss {step / 8} {step}", f"scalar lr 0.0001 {step}", f"log step {step} of 5"]
    red, green = png(folder, "red", "red"), png(folder, "green", "green")
    return lines + [f"images validation 0 {red} {green}", "scalar loss nan 7", f"images test 1 {green}"]


def test_every_record_is_as_wandb_defines_it(tmp_path):
    run_tool(tmp_path, training(tmp_path) + ["finish 3"])
    (file,) = parts(tmp_path)
    assert file.parent.parent == tmp_path / "wandb"
    run_id = file.stem.removeprefix("run-")
    assert file.parent.name.startswith("offline-run-20") and file.parent.name.endswith("-" + run_id)
    assert (file.parent / "logs").is_dir()
    records = read_records(file)
    assert [record.WhichOneof("record_type") for record in records[:2]] == ["header", "run"]
    assert records[0].header.version_info.producer == "lorikeet"
    for record in records:  # nothing that the messages do not define
        size = record.ByteSize()
        record.DiscardUnknownFields()
        assert record.ByteSize() == size

    run = records[1].run
    assert (run.run_id, run.project) == (run_id, "dreambooth-lora")
    assert abs(run.start_time.ToSeconds() - file.stat().st_mtime) < 60
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config == {name: value for name, value in CONFIG.items() if name != "hub_token"}

    history = rows(file)
    assert [row["_step"] for row in history] == [1, 2, 3, 4, 5, 7]
    assert [record.history.step.num for record in records if record.HasField("history")] == [1, 2, 3, 4, 5, 7]
    assert [row["loss"] for row in history[:5]] == [0.125, 0.25, 0.375, 0.5, 0.625]
    assert math.isnan(history[5]["loss"])
    assert all(row["lr"] == 0.0001 for row in history[:5])
    assert all(0 <= row["_runtime"] < 60 and row["_timestamp"] > 1.7e9 for row in history)

    summary = {}
    for record in records:
        if record.HasField("summary"):
            for item in record.summary.update:
                summary["/".join(item.nested_key)] = json.loads(item.value_json)
    assert summary["lr"] == 0.0001 and summary["_step"] == 7 and summary["validation/count"] == 2
    assert records[-1].exit.exit_code == 3


def test_pictures_lie_where_their_row_says(tmp_path):
    run_tool(tmp_path, training(tmp_path))
    (file,) = parts(tmp_path)
    history = rows(file)
    # wandb counts by its own step: the row that is current.
    assert [("validation" in row, "test" in row) for row in history] == [(False, False)] * 4 + [(True, False), (False, True)]
    found = history[4]["validation"]
    names = found.pop("filenames")
    captions = [str(tmp_path / "red.png"), str(tmp_path / "green.png")]
    assert found == {"_type": "images/separated", "width": 12, "height": 8, "format": "png", "count": 2, "captions": captions}
    for name, original in zip(names, captions, strict=True):
        assert name.startswith("media/images/validation_5_")
        assert (file.parent / "files" / name).read_bytes() == Path(original).read_bytes()
    listed = [(item.path, item.type) for record in only(tmp_path, "files") for item in record.files]
    assert listed == [(name, pb.FilesItem.MEDIA) for name in names + history[5]["test"]["filenames"]]


def test_the_console_is_recorded(tmp_path):
    run_tool(tmp_path, ["console too early", *training(tmp_path, range(1, 3)), "console 🦜 ünï"])
    lines = only(tmp_path, "output_raw")
    assert [line.line for line in lines] == ["step 1 of 5\n", "step 2 of 5\n", "🦜 ünï\n"]
    assert all(line.output_type == pb.OutputRawRecord.STDOUT for line in lines)


def test_a_killed_run_can_be_read(tmp_path):
    run_tool(tmp_path, training(tmp_path) + ["kill"], code=-signal.SIGKILL)
    (file,) = parts(tmp_path)
    assert [row["_step"] for row in rows(file)] == [1, 2, 3, 4, 5]
    assert not only(tmp_path, "exit")
    # The last row was not complete; its values are there all the same.
    assert tree(only(tmp_path, "summary")[-1].update)["_step"] == 7


def test_long_records_cross_blocks(tmp_path):
    caption = "ü" * 50_000
    config = CONFIG | {"instance_prompt": caption}
    run_tool(tmp_path, ["config " + json.dumps(config), *[f"console {'x' * length}" for length in range(0, 40_000, 997)]])
    (run,) = only(tmp_path, "run")
    values = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert values["instance_prompt"] == caption
    assert [len(line.line) - 1 for line in only(tmp_path, "output_raw")] == list(range(0, 40_000, 997))


def test_variables_are_respected(tmp_path):
    variables = {"PROJECT": "my-project", "ENTITY": "team", "RUN_ID": "my-id", "NAME": "a name", "NOTES": "some notes"}
    variables |= {"TAGS": "one,two", "RUN_GROUP": "group", "JOB_TYPE": "train", "DIR": str(tmp_path / "else where")}
    env = environment(tmp_path, **{"WANDB_" + name: value for name, value in variables.items()})
    shown = run_tool(tmp_path / "logs", ["config {}"], env=env)
    (run,) = only(tmp_path, "run")
    assert (run.project, run.entity, run.run_id, run.display_name) == ("my-project", "team", "my-id", "a name")
    assert (run.notes, list(run.tags), run.run_group, run.job_type) == ("some notes", ["one", "two"], "group", "train")
    (file,) = parts(tmp_path)
    assert file.parent.parent == tmp_path / "else where" / "wandb" and file.name == "run-my-id.wandb"
    assert shown == f"{FINISHED}wandb sync '{file.parent}'\n"


@pytest.mark.parametrize("variable", ["WANDB_MODE=disabled", "WANDB_DISABLED=true"])
def test_disabled_writes_nothing(tmp_path, variable):
    env = environment(tmp_path, **dict([variable.split("=")]))
    assert run_tool(tmp_path, training(tmp_path), env=env) == "".join(f"step {step} of 5\n" for step in range(1, 6))
    assert not parts(tmp_path) and not (tmp_path / "wandb").exists()


def test_a_bad_variable_is_refused(tmp_path):
    shown = run_tool(tmp_path, ["config {}"], code=2, env=environment(tmp_path, WANDB_MODE="onlin"))
    assert shown == "WANDB_MODE is 'onlin'; expected online, offline or disabled\n"


def test_rows_are_those_of_the_official_client(tmp_path):
    """The same calls, with several per step as DreamBooth's micro-steps make them, give the same rows and summary."""
    steps = [(1, 0.1), (1, 0.2), (2, 1e-30), (5, float("nan")), (3, 9.0), (6, float("inf")), (6, 123456789.0)]
    program = "\n".join(
        ["import wandb", "run = wandb.init(project='p', mode='offline', dir='.', settings={'x_disable_stats': True})"]
        + [f"run.log({{'loss': float('{loss}'), 'lr': 1e-4}}, step={step})" for step, loss in steps]
        + ["run.finish()"]
    )
    (tmp_path / "official").mkdir()
    env = environment(tmp_path, WANDB_SILENT="true")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "official", env=env, check=True, timeout=120)
    lines = [line for step, loss in steps for line in (f"scalar loss {loss!r} {step}", f"scalar lr 0.0001 {step}")]
    run_tool(tmp_path / "ours", lines)

    def comparable(folder):
        (file,) = parts(folder)
        found = rows(file)
        summary = [tree(record.summary.update) for record in read_records(file) if record.HasField("summary")]
        last = {key: value for row in summary for key, value in row.items()}
        for row in [*found, last]:
            row.pop("_runtime"), row.pop("_timestamp"), row.pop("_wandb", None)
        # The official client writes a whole number now as 1, now as 1.0.
        return json.dumps(json.loads(json.dumps([found, last]), parse_int=float), sort_keys=True)

    assert comparable(tmp_path / "ours") == comparable(tmp_path / "official")


def test_the_official_program_uploads_it_all(tmp_path):
    with Sink() as sink:
        lines = training(tmp_path) + ["finish 0"]
        shown = run_tool(tmp_path / "logs", lines, env=sync_environment(tmp_path, sink, WANDB_TAGS="one,two"))
        assert "Finished syncing" in shown, shown
        (file,) = parts(tmp_path)
        ((name, run),) = sink.runs.items()
    assert file.name == f"run-{name}.wandb" and Path(f"{file}.synced").exists()
    assert sink.authorizations == {"Basic " + base64.b64encode(f"api:{KEY}".encode()).decode()}
    assert run.variables["project"] == "dreambooth-lora" and run.variables["tags"] == ["one", "two"]
    assert run.config == {key: value for key, value in CONFIG.items() if key != "hub_token"}
    ours = rows(file)
    assert json.dumps(run.history, sort_keys=True) == json.dumps(ours, sort_keys=True)
    summary = json.loads(run.lines["wandb-summary.json"][0])
    assert summary["_step"] == 7 and summary["lr"] == 0.0001 and summary["test"]["count"] == 1
    for picture in ours[4]["validation"]["filenames"] + ours[5]["test"]["filenames"]:
        assert run.files[picture] == (file.parent / "files" / picture).read_bytes()
        Image.open(io.BytesIO(run.files[picture])).verify()
    assert [line.split(" ", 1)[1] for line in run.lines["output.log"]] == [f"step {step} of 5" for step in range(1, 6)]
    assert run.exit_code == 0


@pytest.mark.parametrize("tail", [b"", b"\x12\x34\x56", b"\x12\x34\x56\x78\xff\x00\x01half a chunk"])
def test_a_killed_run_is_uploaded_as_failed(tmp_path, tail):
    run_tool(tmp_path / "logs", training(tmp_path) + ["kill"], code=-signal.SIGKILL)
    (file,) = parts(tmp_path)
    with file.open("ab") as torn:
        torn.write(tail)
    with Sink() as sink:
        env = sync_environment(tmp_path, sink)
        upload_by_hand(tmp_path, file.parent, env)
        (run,) = sink.runs.values()
    assert [row["_step"] for row in run.history] == [1, 2, 3, 4, 5]
    assert run.exit_code == 1


def resumed(folder, env, first=None):
    """A run killed at step 7 and resumed at step 5, as two parts; `first` is called between them."""
    lines = [line for step in range(1, 8) for line in (f"scalar loss {step}.0 {step}", f"console step {step}")]
    run_tool(folder, lines + ["kill"], code=-signal.SIGKILL, env=env)
    if first:
        first(parts(folder)[0].parent)
    lines = [line for step in range(6, 10) for line in (f"scalar loss {step}.5 {step}", f"console step {step}")]
    return run_tool(folder, ["config " + json.dumps(CONFIG), *lines, "finish 0"], first_step=5, env=env)


def test_both_parts_of_a_resumed_run_are_uploaded_as_one(tmp_path):
    with Sink() as sink:
        shown = resumed(tmp_path / "logs", sync_environment(tmp_path, sink))
        assert shown.count("Finished syncing") == 2, shown
        ((name, run),) = sink.runs.items()
    assert [file.name for file in parts(tmp_path)] == [f"run-{name}.wandb"] * 2
    expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 5.0), (6, 6.5), (7, 7.5), (8, 8.5), (9, 9.5)]
    assert [(row["_step"], row["loss"]) for row in run.history] == expected
    runtimes = [row["_runtime"] for row in run.history]
    assert runtimes == sorted(runtimes)
    # The lines behind step 5 are cut off with its rows, but for that of step 6: its row came when step 7 began.
    assert [line.split()[-1] for line in run.lines["output.log"]] == list("1234566789")
    assert run.config["max_train_steps"] == 500
    assert run.uploads == 2 and run.exit_code == 0


def test_a_part_that_is_uploaded_already_is_continued(tmp_path):
    with Sink() as sink:
        env = sync_environment(tmp_path, sink)

        def upload(part):
            upload_by_hand(tmp_path, part, env)

        shown = resumed(tmp_path / "logs", env, upload)
        assert shown.count("Finished syncing") == 1, shown
        (run,) = sink.runs.values()
    # Step 7 was not complete when the run was killed; the server has 1 to 6.
    expected = [(step, float(step)) for step in range(1, 7)] + [(7, 7.5), (8, 8.5), (9, 9.5)]
    assert [(row["_step"], row["loss"]) for row in run.history] == expected


def test_the_commands_that_are_shown_do_the_same(tmp_path):
    with Sink() as sink:
        env = sync_environment(tmp_path, sink)
        shown = resumed(tmp_path / "logs", env | {"WANDB_MODE": "offline"})
        assert not sink.operations
        command = shown.splitlines()[-1].removeprefix(FINISHED)
        subprocess.run(["/bin/sh", "-c", command], env=env, cwd=tmp_path, check=True, timeout=120, capture_output=True)
        (run,) = sink.runs.values()
    assert [row["_step"] for row in run.history] == list(range(1, 10))
    assert run.exit_code == 0


def test_a_refused_key_does_not_fail_the_run(tmp_path):
    with Sink() as sink:
        env = sync_environment(tmp_path, sink, WANDB_API_KEY="not a key")
    shown = run_tool(tmp_path / "logs", training(tmp_path), env=env)
    assert "`wandb sync` failed: " in shown and f"wandb sync {parts(tmp_path)[0].parent}" in shown


def test_no_secret_is_in_any_file(tmp_path):
    config = CONFIG | {"hub_token": HUB_TOKEN, "wandb_api_key": KEY, "dataset_name": f"https://user:{HUB_TOKEN}@host/x"}
    with Sink() as sink:
        lines = ["config " + json.dumps(config), f"log the key is {KEY}, the token {HUB_TOKEN}", "scalar loss 1 1"]
        run_tool(tmp_path / "logs", lines, env=sync_environment(tmp_path, sink))
        (run,) = sink.runs.values()
    assert run.config["dataset_name"] == "https://user:***@host/x" and "hub_token" not in run.config
    for file in (path for path in (tmp_path / "logs").rglob("*") if path.is_file()):
        data = file.read_bytes()
        assert KEY.encode() not in data and HUB_TOKEN.encode() not in data, file
    sent = json.dumps([run.variables, run.lines]) + "".join(data.decode("latin1") for data in run.files.values())
    assert KEY not in sent and HUB_TOKEN not in sent

"""Data sets by name: what we read of those on the loopback hub beside what `datasets` reads of them (tests/data/hub_datasets.json,
made by tools/reference/hub_datasets.py): the same pictures with the same captions in the same order."""

import io
import json
import os
import subprocess
from pathlib import Path

import hub_dataset_scenarios
import pyarrow as pa
import pytest
from hub_dataset_scenarios import picture_id
from hub_server import HubServer
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[1]
TOOL = Path(os.environ.get("LORIKEET_BUILD_DIR", ROOT / "build")) / "dataset_tool"
OFFICIAL = json.loads((ROOT / "tests/data/hub_datasets.json").read_text())
SCENARIOS = hub_dataset_scenarios.scenarios()

# What we read although the script or `datasets` gives up: with how many pictures.
BEYOND = {
    # What is read here is clear, whatever the card says elsewhere.
    "parquet-not-described": 3,
    "card-two-defaults": 3,
    "card-split-without-files": 1,
    "card-split-with-more": 3,
    "card-data-dir-and-files": 2,
    "card-counts-rows-wrong": 3,
    "card-describes-another-config": 6,
    "card-tells-more-splits": 6,
    "folder-splits-one-without": 5,
    "folder-metadata-names-parent": 1,  # which is within the data set
    "folder-text-files": 5,
    "folder-damaged-picture": 5,  # told when the pictures are checked
}
# What we refuse although `datasets` reads it: the message tells why.
REFUSED = {
    "folder-parquet-metadata": "metadata in a Parquet file beside pictures is not supported",
    "zip-of-pictures": "holds neither pictures nor Parquet files",
    "tar-of-pictures": "holds neither pictures nor Parquet files",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with HubServer(tmp_path_factory.mktemp("hub")) as hub:
        for name, scenario in SCENARIOS.items():
            hub_dataset_scenarios.put(hub, name, scenario)
        yield hub


def ask(hub, home, name, **more):
    """The tool's answer; `more`: of the request, or in capitals of the environment."""
    scenario = SCENARIOS[name]
    request = {"dataset_name": f"tester/{name}", "caption_column": scenario.caption_column, "image_column": scenario.image_column,
               "cache_dir": str(home / "pictures")}  # fmt: skip
    if scenario.config is not None:
        request["config_name"] = scenario.config
    if scenario.data_dir is not None:
        request["data_dir"] = scenario.data_dir
    env = hub.environment(home) | {"LORIKEET_HUB_BACKOFF": "0.01"} | {key: more.pop(key) for key in list(more) if key.isupper()}
    done = subprocess.run([TOOL], input=json.dumps(request | more) + "\n", capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(answer):
    found = []
    for record in answer["records"]:
        with open(record["file"], "rb") as file:
            file.seek(record["offset"])
            image = Image.open(io.BytesIO(file.read(record["bytes"])))
        captions = record["captions"]
        pixels = picture_id(ImageOps.exif_transpose(image).convert("RGB").tobytes())
        found.append([pixels, captions[0] if len(captions) == 1 else captions])
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_reads_what_datasets_reads(name, hub, tmp_path):
    answer, official = ask(hub, tmp_path, name), OFFICIAL[name]
    if name in REFUSED:
        assert "error" not in official and REFUSED[name] in answer["error"], answer
    elif name in BEYOND:
        assert "error" in official and len(answer["records"]) == BEYOND[name], answer
    elif "error" in official:
        assert answer.get("error"), "`datasets` or the script gives up here: is it told in BEYOND?"
    else:
        mine, theirs = rows(answer), [[pixels, text[0] if len(text) == 1 else text] for pixels, text in official["rows"]]
        assert mine == theirs if SCENARIOS[name].ordered else sorted(mine) == sorted(theirs)


def fetched(home, name):
    return sorted(str(path.relative_to(snapshot)) for snapshot in home.glob(f"hub/datasets--tester--{name}/snapshots/*")
                  for path in snapshot.rglob("*") if path.is_file())  # fmt: skip


def test_only_the_files_of_the_split_are_fetched_and_only_once(hub, tmp_path):
    first = ask(hub, tmp_path, "parquet-shards")
    assert fetched(tmp_path, "parquet-shards") == [f"data/train-{i:05}-of-00003.parquet" for i in range(3)]
    before = len(hub.requests)
    assert ask(hub, tmp_path, "parquet-shards") == first
    assert [request.method for request in hub.requests[before:]] == ["GET"]  # which commit is it now?


def test_what_was_fetched_is_there_without_the_hub(hub, tmp_path):
    error = ask(hub, tmp_path, "card-splits", HF_HUB_OFFLINE="1")["error"]
    assert "HF_HUB_OFFLINE" in error and "tester/card-splits" in error
    online = ask(hub, tmp_path, "card-splits")
    before = len(hub.requests)
    assert ask(hub, tmp_path, "card-splits", HF_HUB_OFFLINE="1") == online and len(hub.requests) == before
    assert ask(hub, tmp_path, "card-splits", HF_ENDPOINT="http://127.0.0.1:1") == online
    assert "cannot be reached" in ask(hub, tmp_path, "card-list", HF_ENDPOINT="http://127.0.0.1:1")["error"]
    next(tmp_path.glob("hub/datasets--tester--card-splits/snapshots/*/one/a.parquet")).unlink()
    error = ask(hub, tmp_path, "card-splits", HF_HUB_OFFLINE="1")["error"]
    assert "only in part: one/a.parquet missing" in error


def test_a_private_data_set_needs_the_token(hub, tmp_path, monkeypatch):
    hub.put_repo("tester/private", SCENARIOS["folder-jsonl"].files, "dataset", private=True)
    monkeypatch.setitem(SCENARIOS, "private", SCENARIOS["folder-jsonl"])
    assert "private" in ask(hub, tmp_path, "private", HF_TOKEN="")["error"]
    assert len(ask(hub, tmp_path, "private")["records"]) == 5
    assert not hub.leaks


def test_rows_of_a_stranger_name_no_files_of_this_machine(hub, tmp_path, monkeypatch):
    own = tmp_path / "own.png"
    own.write_bytes(hub_dataset_scenarios.picture(1))
    image = pa.array([{"bytes": None, "path": str(own)}], hub_dataset_scenarios.IMAGE)
    files = {"train.parquet": hub_dataset_scenarios.pq_bytes(pa.table({"image": image, "text": ["x"]}))}
    hub.put_repo("tester/stranger", files, "dataset")
    monkeypatch.setitem(SCENARIOS, "stranger", hub_dataset_scenarios.Scenario(files))
    assert "no picture bytes, only a path" in ask(hub, tmp_path, "stranger")["error"]
    (tmp_path / "here").mkdir()
    (tmp_path / "here/train.parquet").write_bytes(files["train.parquet"])
    assert len(ask(hub, tmp_path, "stranger", dataset_name=str(tmp_path / "here"))["records"]) == 1


@pytest.mark.parametrize("name", ["folder-data-dir", "card-splits-of-lists", "folder-splits"])
def test_a_folder_with_a_card_is_read_as_the_repository(name, hub, tmp_path):
    for path, data in SCENARIOS[name].files.items():
        (tmp_path / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / path).write_bytes(data)
    before = len(hub.requests)
    assert rows(ask(hub, tmp_path, name, dataset_name=str(tmp_path / "set"))) == OFFICIAL[name]["rows"]
    assert len(hub.requests) == before


def test_hundreds_of_pictures_come_whole_whatever_goes_wrong_on_the_way(hub, tmp_path, monkeypatch):
    names = [f"{i:04}.png" for i in range(300)]
    hub.put_repo("tester/many", hub_dataset_scenarios.folder(names), "dataset")
    monkeypatch.setitem(SCENARIOS, "many", hub_dataset_scenarios.Scenario({}))
    hub.fail(path="/resolve/.*/0100.png", status=404, headers={"X-Error-Code": "EntryNotFound"})
    assert "0100.png" in ask(hub, tmp_path, "many")["error"]
    assert not list(tmp_path.rglob("*.incomplete")) and not (tmp_path / "hub/datasets--tester--many/refs/main").exists()
    for number, fault in enumerate([{"refuse": True}, {"status": 503}, {"wrong": True}, {"cut": 20}, {"status": 429}]):
        hub.fail(path=f"/resolve/.*/02{number}7.png", method="GET", **fault)
    answer = ask(hub, tmp_path, "many")
    assert not any(fault.times for fault in hub.faults), "all of them struck"
    assert [record["name"] for record in answer["records"]] == names
    assert rows(answer) == [[picture_id(hub_dataset_scenarios.pixels(i)), hub_dataset_scenarios.caption(i)] for i in range(300)]


def train(hub, home, output, dataset, *more, code=0):
    words = ["--pretrained_model_name_or_path", ROOT / "models/lorikeet-base", "--dataset_name", dataset, "--resolution=32", "--rank=1",
             "--train_batch_size=1", "--checkpointing_steps=2", "--seed=0", "--device=cpu", f"--output_dir={output}", *more]  # fmt: skip
    done = subprocess.run([os.environ.get("LORIKEET_PROGRAM", ROOT / "build/lorikeet"), "train", "text-to-image", *map(str, words)],
                          env=hub.environment(home), capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr


def test_a_run_goes_on_with_the_pictures_it_began_with(hub, tmp_path):
    id, home, output = "tester/growing", tmp_path / "home", tmp_path / "out"
    hub.put_repo(id, hub_dataset_scenarios.folder(["a.png", "b.png", "c.png"]), "dataset")
    train(hub, home, output, id, "--max_train_steps=2")
    (snapshot,) = home.glob("hub/datasets--tester--growing/snapshots/*")
    hub.put_repo(id, hub_dataset_scenarios.folder(["a.png", "b.png", "c.png", "d.png"]), "dataset")
    resume = ("--max_train_steps=3", "--resume_from_checkpoint=latest")
    told = train(hub, home, output, id, *resume, code=2)
    assert "4" in told and "3" in told and "revision" in told
    train(hub, home, output, snapshot, *resume)

"""Data sets by name: what we read of those on the loopback hub beside what `datasets` reads of them (tests/data/hub_datasets.json,
made by tools/reference/hub_datasets.py): the same pictures with the same captions in the same order."""

import io
import json
import os
import subprocess
from pathlib import Path

import hub_dataset_scenarios
import pytest
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
    scenario = SCENARIOS[name]
    request = {"dataset_name": f"tester/{name}", "caption_column": scenario.caption_column, "image_column": scenario.image_column,
               "cache_dir": str(home / "pictures")}  # fmt: skip
    if scenario.config is not None:
        request["config_name"] = scenario.config
    if scenario.data_dir is not None:
        request["data_dir"] = scenario.data_dir
    env = hub.environment(home) | {"LORIKEET_HUB_BACKOFF": "0.01"}
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
        pixels = hub_dataset_scenarios.picture_id(ImageOps.exif_transpose(image).convert("RGB").tobytes())
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

"""Listings of commits in the cache, trees/COMMIT.json: either client writes what the other reads instead of asking."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer

PROGRAM = os.environ.get("LORIKEET_BUILD_DIR", "build") + "/hub_program"  # the Hub's commands alone: it starts at once
REPO = "someone/model"
FILES = {
    "config.json": b'{"a": 1}',
    "unet/model.safetensors": b"weights" * 500,
    "a b/\u00e4\U0001f99c + 100%.txt": b"a name to quote",
    "empty.txt": b"",
}


@pytest.fixture
def hub(tmp_path):
    with HubServer(tmp_path / "hub") as hub:
        hub.put_repo(REPO, FILES)
        yield hub


def run(hub, home, *words, code=0, **variables):
    done = subprocess.run([PROGRAM, "hub", *map(str, words)], env={**hub.environment(home), **variables}, capture_output=True,
                          text=True, timeout=60)  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout.strip() if code == 0 else done.stderr


def python(hub, home, code, **variables):
    done = subprocess.run([sys.executable, "-c", "from huggingface_hub import *\n" + code], capture_output=True, text=True,
                          timeout=60, env={**hub.environment(home), **variables})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def trees(home):
    return {path.name: path.read_bytes() for path in home.glob("hub/*/trees/*")}


def xet(answer):
    """The hub as it is where its files are in Xet."""
    for entry in answer:
        if entry["path"].endswith("safetensors"):
            entry["xetHash"] = "ab" * 32
    return answer


def listings(hub, start):
    return [request.line for request in hub.requests[start:] if "/tree/" in request.path]


@pytest.mark.parametrize("files, replace", [(FILES, None), (FILES, xet), ({}, None)], ids=["plain", "xet", "empty"])
def test_both_write_the_same_bytes(files, replace, tmp_path):
    with HubServer(tmp_path / "hub", gitattributes=bool(files)) as hub:
        commit = hub.put_repo(REPO, files)
        if replace:
            hub.fail(path="/tree/", times=2, replace=replace)
        run(hub, tmp_path / "ours", "download", REPO, code=0 if files else 1)
        python(hub, tmp_path / "theirs", f"snapshot_download({REPO!r})")
        assert trees(tmp_path / "ours") == trees(tmp_path / "theirs")
        assert list(trees(tmp_path / "ours")) == [f"{commit}.json"]


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_what_one_listed_the_other_does_not_ask_for(first, hub, tmp_path):
    home, fetch = tmp_path / "home", f"print(snapshot_download({REPO!r}))"
    one = run(hub, home, "download", REPO) if first == "ours" else python(hub, home, fetch)
    start = len(hub.requests)
    two = python(hub, home, fetch) if first == "ours" else run(hub, home, "download", REPO)
    assert one == two and listings(hub, start) == []
    commit, start = Path(one).name, len(hub.requests)
    assert run(hub, home, "download", REPO, f"--revision={commit}") == one
    assert len(hub.requests) == start, "a commit that is here whole needs no request"
    hub.put_repo(REPO, {"new.txt": b"new"})
    assert Path(run(hub, home, "download", REPO)).name != commit and len(listings(hub, start)) == 1


def test_without_a_network_the_cache_tells(hub, tmp_path):
    home, offline = tmp_path / "home", {"HF_HUB_OFFLINE": "1"}
    folder = run(hub, home, "download", REPO)
    listed = run(hub, home, "ls", REPO)
    start = len(hub.requests)
    assert sorted(run(hub, home, "ls", REPO, **offline).splitlines()) == sorted(listed.splitlines())
    assert run(hub, home, "download", REPO, **offline) == folder
    assert run(hub, home, "download", REPO, "config.json", **offline) == f"{folder}/config.json"
    assert python(hub, home, f"print(snapshot_download({REPO!r}))", **offline) == folder
    (Path(folder) / "empty.txt").unlink()
    assert "the cache lacks empty.txt" in run(hub, home, "download", REPO, code=1, **offline)
    assert run(hub, home, "download", REPO, "--exclude", "empty.*", **offline) == folder
    assert "IncompleteSnapshotError" in python(
        hub, home, f"try: snapshot_download({REPO!r})\nexcept Exception as e: print(type(e))", **offline)  # fmt: skip
    assert "does not know what the model someone/other" in run(hub, home, "ls", "someone/other", code=1, **offline)
    assert "(revision v2)" in run(hub, home, "ls", REPO, "--revision=v2", code=1, **offline)
    assert "has no file nothing.txt" in run(hub, home, "download", REPO, "nothing.txt", code=1, **offline)
    run(hub, home, "download", REPO, "--force_download", code=2, **offline)
    run(hub, home, "download", REPO, "../../../x", code=1, **offline)
    assert len(hub.requests) == start


@pytest.mark.parametrize("damage", [
    b"", b"{", b"[]", b"null", b'{"format_version": 2, "files": {}}', b'{"format_version": 1}', b"[" * 100_000,
    b'{"format_version": 1, "files": {"../x": {"size": 1, "blob_id": "a"}}}',
    b'{"format_version": 1, "files": {"x": {"size": -1, "blob_id": "a"}}}',
    b'{"format_version": 1, "files": {"x": {"size": 18446744073709551615, "blob_id": "a"}}}',
    b'{"format_version": 1, "files": {"x": {"size": "1", "blob_id": "a"}}}', b'{"format_version": 1, "files": {"x": 1}}',
])  # fmt: skip
def test_a_damaged_listing_is_fetched_again(damage, hub, tmp_path):
    folder = run(hub, tmp_path / "home", "download", REPO)
    tree = next(tmp_path.glob("home/hub/*/trees/*"))
    good = tree.read_bytes()
    tree.write_bytes(damage)
    assert "does not know what" in run(hub, tmp_path / "home", "ls", REPO, code=1, HF_HUB_OFFLINE="1")
    start = len(hub.requests)
    assert run(hub, tmp_path / "home", "download", REPO) == folder and len(listings(hub, start)) == 1
    assert tree.read_bytes() == good and json.loads(good)["format_version"] == 1


def test_a_cache_that_cannot_keep_it_is_no_obstacle(hub, tmp_path):
    folder = run(hub, tmp_path / "home", "download", REPO)
    trees = Path(folder).parents[1] / "trees"
    next(trees.iterdir()).unlink(), trees.rmdir()
    trees.write_text("a file where the folder should be")
    assert run(hub, tmp_path / "home", "download", REPO) == folder

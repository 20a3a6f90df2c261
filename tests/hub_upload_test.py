"""`lorikeet hub upload` beside huggingface_hub's create_commit: the same requests, the same repository, whatever goes wrong."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_server import HubServer

PROGRAM = os.environ.get("LORIKEET_BUILD_DIR", "build") + "/hub_program"  # the Hub's commands alone: it starts at once
FLAVOURS = {
    "huggingface.co": {},
    "large files in parts": {"part_size": 100_000},
    "everything in one place": {"redirects": "none", "verify": False, "tells_oids": False, "error_codes": False},
}
PEER = """
import sys, pathlib
from huggingface_hub import HfApi, CommitOperationAdd
api, folder = HfApi(), pathlib.Path(sys.argv[1])
id = api.create_repo(sys.argv[2], exist_ok=True, private=True if "--private" in sys.argv else None,
                     repo_type="dataset" if "--repo_type=dataset" in sys.argv else None).repo_id
files = [p for p in sorted(folder.glob("**/*")) if p.is_file() and ".git" not in p.parts]
api.create_commit(id, [CommitOperationAdd(p.relative_to(folder).as_posix(), p) for p in files],
                  commit_message="Upload folder", num_threads=1, create_pr="--create_pr" in sys.argv,
                  repo_type="dataset" if "--repo_type=dataset" in sys.argv else None)
"""


def environment(hub, tmp_path, token="hf_tester"):
    return hub.environment(tmp_path / "home", token) | {"LORIKEET_HUB_BACKOFF": "0.01"}


def upload(hub, tmp_path, *words, code=0, token="hf_tester", **variables):
    done = subprocess.run([PROGRAM, "hub", "upload", *map(str, words)], env=environment(hub, tmp_path, token) | variables,
                          capture_output=True, text=True, errors="replace", timeout=60)  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "hf_tester" not in done.stdout + done.stderr and "Signature" not in done.stdout + done.stderr
    return done.stdout.strip() if code == 0 else done.stderr


def peer(hub, tmp_path, *words):
    done = subprocess.run([sys.executable, "-c", PEER, *map(str, words)], env=environment(hub, tmp_path),
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder(tmp_path):
    """What a training leaves, and names that need quoting."""
    source = random.Random(0)
    files = {
        "README.md": b"---\nbase_model: a/b\ntags:\n- lora\n---\n# hi\n",
        "pytorch_lora_weights.safetensors": source.randbytes(250_000),
        "a.txt": b"a",
        "a/b.txt": source.randbytes(1000),
        "image_0.png": source.randbytes(2000),
        "empty.txt": b"",
        "empty.bin": b"",
        "spa ce/\u00e4 + 100%.txt": b"a name to quote",
    }
    for path, data in files.items():
        (tmp_path / "output" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "output" / path).write_bytes(data)
    return tmp_path / "output"


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("words", [["tester/lora"], ["lora", "--private"], ["lab/data", "--repo_type=dataset"]], ids=str)
def test_same_requests_and_same_repository(tmp_path, folder, flavour, words):
    """Three pushes: all, the same once more, and one file changed."""
    results = []
    for push in (upload, peer):
        with HubServer(tmp_path / push.__name__, **FLAVOURS[flavour]) as hub:
            for change in (b"first", b"first", b"second"):
                (folder / "change.txt").write_bytes(change)
                arguments = [words[0], folder] if push == upload else [folder, words[0]]
                push(hub, tmp_path, *arguments, *words[1:])
            assert not hub.leaks
            results.append((hub.state(), {id: s["private"] for id, s in hub.settings.items()}, hub.transcript()))
    assert results[0][:2] == results[1][:2]
    for ours, theirs in zip(results[0][2], results[1][2]):
        assert ours == theirs
    assert len(results[0][2]) == len(results[1][2])


def test_a_pull_request(tmp_path, folder):
    transcripts = []
    for push in (upload, peer):
        with HubServer(tmp_path / push.__name__) as hub:
            hub.put_repo("tester/lora", {"old.txt": b"old"})
            first = hub.repo("tester/lora").resolve("main")
            arguments = ["tester/lora", folder] if push == upload else [folder, "tester/lora"]
            shown = push(hub, tmp_path, *arguments, "--create_pr")
            assert shown in (None, f"{hub.url}/tester/lora/discussions/1")
            assert hub.repo("tester/lora").resolve("main") == first
            assert content(folder).items() <= hub.files("tester/lora", revision="refs/pr/1").items()
            transcripts.append(hub.transcript())
    assert transcripts[0] == transcripts[1]


def test_the_same_content_goes_once(tmp_path):
    (tmp_path / "twins").mkdir()
    for name in ("a.bin", "b.bin"):
        (tmp_path / "twins" / name).write_bytes(b"two names, one content")
    with HubServer(tmp_path / "hub") as hub:
        upload(hub, tmp_path, "lora", tmp_path / "twins")
        assert len([r for r in hub.requests if r.method == "PUT"]) == 1
        assert content(tmp_path / "twins").items() <= hub.files("tester/lora").items()


def test_choosing_what_and_where(tmp_path, folder):
    with HubServer(tmp_path / "hub") as hub:
        (folder / ".git").mkdir()
        (folder / ".git/config").write_text("not this")
        (folder / "x.1.0.incomplete").write_text("nor this")
        upload(hub, tmp_path, "one", folder / "a.txt")
        upload(hub, tmp_path, "one", folder / "a.txt", "--path_in_repo=b/c.txt", "--commit_message=A file")
        assert {k: v for k, v in hub.files("tester/one").items() if k != ".gitattributes"} == {"a.txt": b"a", "b/c.txt": b"a"}
        assert [m for _, m in hub.repo("tester/one").history(hub.repo("tester/one").resolve("main"))][0] == "A file"
        upload(hub, tmp_path, "two", folder, "--include", "*.txt", "--exclude", "a/*", "empty*", "--path_in_repo=in/here")
        assert set(hub.files("tester/two")) == {".gitattributes", "in/here/a.txt", "in/here/spa ce/\u00e4 + 100%.txt"}
        upload(hub, tmp_path, "three", folder)
        assert content(folder).keys() - hub.files("tester/three").keys() == {".git/config", "x.1.0.incomplete"}
        hub.put_repo("tester/one", {".gitignore": b"*.png"})
        assert "image_0.png is left out" in subprocess.run(
            [PROGRAM, "hub", "upload", "one", str(folder)], env=environment(hub, tmp_path), capture_output=True, text=True).stderr  # fmt: skip
        hub.put_repo("tester/one", {"x": b"x"}, revision="v2/x")
        url = upload(hub, tmp_path, "one", folder / "a.txt", "--path_in_repo=y", "--revision=v2/x")
        assert hub.files("tester/one", revision="v2/x")["y"] == b"a" and "y" not in hub.files("tester/one")
        assert url == f"{hub.url}/tester/one/commit/{hub.repo('tester/one').resolve('v2/x')}"


@pytest.mark.parametrize("words, token, code, told", [
    (["other/lora", "."], "hf_tester", 1, "the token may not do this (403)"),
    (["lora", "."], "hf_reader", 1, "the token may not do this (403)"),
    (["lora", "."], "hf_wrong", 1, "does not know the token"),
    (["lora", "."], None, 1, "nobody is logged in"),
    (["lora", "nowhere"], "hf_tester", 1, "nowhere"),
    (["lora", ".", "--include=none"], "hf_tester", 1, "nothing to upload"),
    (["lora", "a.txt", "--include=*"], "hf_tester", 2, "are for folders"),
    (["lora", "a.txt", "--path_in_repo=../x"], "hf_tester", 2, "../x"),
    (["no--id", "."], "hf_tester", 2, "no--id"),
    (["lora", ".", "--create_pr", "--revision=x"], "hf_tester", 2, "--create_pr"),
    (["lora", ".", "--revision=none"], "hf_tester", 1, "no revision \"none\""),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")  # fmt: skip
def test_refusals(tmp_path, folder, words, token, code, told):
    with HubServer(tmp_path / "hub") as hub:
        words[1] = folder / words[1]
        assert told in upload(hub, tmp_path, *words, code=code, token=token)
        assert all(len(histories) == 1 for repos in hub.state()[0].values() for histories in repos.values())


def test_metadata_the_hub_does_not_accept(tmp_path, folder):
    with HubServer(tmp_path / "hub") as hub:
        (folder / "README.md").write_text("---\nno mapping\n---\n")
        assert "README.md: YAML Metadata Error" in upload(hub, tmp_path, "lora", folder, code=1)
        (folder / "README.md").write_bytes(b"---\na: \xff\n---\n")
        assert "README.md" in upload(hub, tmp_path, "lora", folder, code=1)
        assert not any("preupload" in r.path for r in hub.requests)


def test_a_changed_file_is_noticed_by_the_storage(tmp_path, folder):
    """The storage takes no content whose sum is another."""
    with HubServer(tmp_path / "hub") as hub:
        hub.fail(method="PUT", status=400, body=b"The provided checksum did not match")
        assert "send pytorch_lora_weights.safetensors to the storage" in upload(hub, tmp_path, "lora", folder, code=1)
        assert list(hub.repo("tester/lora").files()) == [".gitattributes"]


FAULTS = [{"status": 500}, {"status": 503}, {"status": 429, "headers": {"Retry-After": "0"}}, {"refuse": True}, {"lose": True},
          {"cut": 5}, {"late": 0.5}, {"delay": 0.5}]  # fmt: skip
REFUSALS = [{"status": 401}, {"status": 401, "headers": {"X-Error-Code": "RepoNotFound"}}, {"status": 407}, {"status": 502}, {"status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, {"status": 412}, {"status": 504},
            {"status": 404, "headers": {"X-Error-Code": "RevisionNotFound"}}, {"status": 200, "body": b"[" * 100_000},
            {"redirect": "STORAGE/elsewhere"}, {"headers": {f"X-{i}": "x" * 100 for i in range(3000)}}]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_fault_at_every_request_of_a_push(tmp_path, folder, flavour, fault):
    """Each time it ends well, with one commit, whichever request fails, and even when it was done."""
    is_slow = bool({"late", "delay"} & fault.keys())
    if is_slow and flavour != "large files in parts":
        return
    slow = {"HF_HUB_DOWNLOAD_TIMEOUT": "0.25", "LORIKEET_HUB_BACKOFF": "0.05"} if is_slow else {}
    number, failed = 0, True
    while failed:
        with HubServer(tmp_path / f"hub {number}", **FLAVOURS[flavour]) as hub:
            hub.fail(number=number, **fault)
            upload(hub, tmp_path, "lora", folder, **slow)
            failed = hub.faults[0].times == 0
            repo = hub.repo("tester/lora")
            assert len(repo.history(repo.resolve("main"))) == 2, f"request {number}"
            assert content(folder).items() <= hub.files("tester/lora").items() and not hub.leaks
        number += 1
    assert number > 6


@pytest.mark.parametrize("fault", REFUSALS, ids=range(len(REFUSALS)))
def test_a_refusal_at_every_request_of_a_push(tmp_path, folder, fault):
    """A clear error or a success; a second try then ends well, with one commit in all, and no token went elsewhere."""
    number, struck = 0, True
    while struck:
        with HubServer(tmp_path / f"hub {number}", part_size=100_000) as hub:
            what = fault | ({"redirect": fault["redirect"].replace("STORAGE", hub.storage_url)} if "redirect" in fault else {})
            hub.fail(number=number, **what)
            done = subprocess.run([PROGRAM, "hub", "upload", "lora", str(folder)], env=environment(hub, tmp_path),
                                  capture_output=True, text=True, timeout=60)  # fmt: skip
            assert done.returncode in (0, 1) and "hf_tester" not in done.stderr, done.stderr
            assert done.stderr.count("lorikeet: error: ") == done.returncode, done.stderr
            struck = hub.faults[0].times == 0
            if done.returncode:
                hub.faults.clear()
                upload(hub, tmp_path, "lora", folder)
            repo = hub.repo("tester/lora")
            assert len(repo.history(repo.resolve("main"))) == 2, f"request {number}: {done.stderr}"
            assert content(folder).items() <= hub.files("tester/lora").items() and not hub.leaks
        number += 1
    assert number > 6


def test_a_commit_nobody_hears_of_is_not_made_twice(tmp_path, folder):
    """It is still under way when we look, once, and again; behind a gateway that gave up it is never made."""
    with HubServer(tmp_path / "late") as hub:
        hub.fail(path="/commit/", late=1.2)
        upload(hub, tmp_path, "lora", folder, HF_HUB_DOWNLOAD_TIMEOUT="0.3", LORIKEET_HUB_BACKOFF="0.1")
        repo = hub.repo("tester/lora")
        assert len(repo.history(repo.resolve("main"))) == 2 and len([r for r in hub.requests if "/commit/" in r.path]) == 1
    with HubServer(tmp_path / "gateway") as hub:
        hub.fail(path="/commit/", status=504)
        told = upload(hub, tmp_path, "lora", folder, code=1)
        assert "no answer came to the commit to the model tester/lora" in told and "try again" in told
        assert len([r for r in hub.requests if "/commit/" in r.path]) == 1


def test_names_and_messages_that_no_request_can_hold(tmp_path, folder):
    with HubServer(tmp_path / "hub") as hub:
        assert "message is not written in UTF-8" in upload(hub, tmp_path, "lora", folder, os.fsdecode(b"--commit_message=\xff"), code=2)
        (folder / os.fsdecode(b"a\xff.txt")).write_bytes(b"x")
        assert "is not written in UTF-8: rename" in upload(hub, tmp_path, "lora", folder, code=2)
        (folder / os.fsdecode(b"a\xff.txt")).unlink()
        (folder / "a\nb").write_bytes(b"x")
        assert "cannot be the name" in upload(hub, tmp_path, "lora", folder, code=2)
        (folder / "a\nb").unlink()
        assert not any("/commit/" in r.path for r in hub.requests)
        assert "the token of --hub_token" in upload(hub, tmp_path, "lora", folder, "--hub_token=hf_a\r\nX: hf_b", code=2)


@pytest.mark.parametrize("answer", [
    {"replace": lambda x: {}}, {"replace": lambda x: []}, {"replace": lambda x: None}, {"chunked": True},
    {"headers": {"Content-Type": "text/html"}},
], ids=range(5))  # fmt: skip
def test_answers_that_make_no_sense(tmp_path, folder, answer):
    """An error or a success, never a crash, and never a commit without its files."""
    for path in ("create", "validate-yaml", "preupload", "batch", "commit"):
        with HubServer(tmp_path / path) as hub:
            hub.fail(path=path, **answer)
            done = subprocess.run([PROGRAM, "hub", "upload", "lora", str(folder)], env=environment(hub, tmp_path),
                                  capture_output=True, text=True, timeout=60)  # fmt: skip
            assert done.returncode in (0, 1), f"{path}: {done.stderr}"
            assert done.returncode == 0 or re.search("lorikeet: error: .*answer", done.stderr), done.stderr


@pytest.mark.parametrize("change", [
    lambda x: x["actions"]["upload"].update(href="file:///etc/passwd"),
    lambda x: x["actions"]["upload"].update(href=5),
    lambda x: x["actions"]["upload"]["header"].update(chunk_size="0"),
    lambda x: x["actions"]["upload"]["header"].update(chunk_size="-5"),
    lambda x: x["actions"]["upload"]["header"].update(chunk_size="99999999999999999999"),
    lambda x: x["actions"]["upload"]["header"].update({"chunk_size": "100", "1": "http://127.0.0.1:1/"}),
    lambda x: x["actions"]["upload"]["header"].update(chunk_size={"a": 1}),
    lambda x: x["actions"].update(upload=None),
    lambda x: x.update(oid="0" * 64),
    lambda x: x.update(error={"code": 422, "message": "too large"}),
], ids=range(10))  # fmt: skip
def test_storage_answers_that_make_no_sense(tmp_path, folder, change):
    def replace(answer):
        for item in answer["objects"]:
            change(item)
        return answer

    with HubServer(tmp_path / "hub") as hub:
        hub.fail(path="batch", replace=replace)
        assert re.search("large file|storage", upload(hub, tmp_path, "lora", folder, code=1))
        assert not any(r.method == "PUT" or "/commit/" in r.path for r in hub.requests)


def test_killed_at_random_moments(tmp_path, folder):
    """After kill -9 the same command ends well, with one commit of the files."""
    source = random.Random(1)
    for attempt in range(8):
        with HubServer(tmp_path / f"hub {attempt}", part_size=50_000) as hub:
            hub.fail(delay=0.01, times=1000)
            process = subprocess.Popen([PROGRAM, "hub", "upload", "lora", str(folder)], env=environment(hub, tmp_path),
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            time.sleep(source.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
            process.wait()
            upload(hub, tmp_path, "lora", folder)
            repo = hub.repo("tester/lora")
            assert len(repo.history(repo.resolve("main"))) == 2
            assert content(folder).items() <= hub.files("tester/lora").items()


def test_many_files_are_asked_about_in_portions(tmp_path):
    results = []
    for i in range(300):
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / f"many/{i}.bin").write_bytes(b"%d" % i)
    for push in (upload, peer):
        with HubServer(tmp_path / push.__name__) as hub:
            push(hub, tmp_path, *(["m", tmp_path / "many"] if push == upload else [tmp_path / "many", "m"]))
            lines = [(r.method, r.path) for r in hub.requests if r.host == "hub" and "verify" not in r.path]
            results.append((hub.state(), lines))
    assert results[0] == results[1] and sum("preupload" in path for _, path in results[0][1]) == 2


def test_the_token_stays_on_the_hub(tmp_path, folder):
    """A storage that points elsewhere, and a hub that does, get no token from us."""
    with HubServer(tmp_path / "hub") as hub:
        for path in ("/api/repos/create", "/preupload/", "/commit/", "/lfs/verify"):
            hub.fail(path=path, redirect=f"{hub.storage_url}/somewhere")
        for _ in range(4):
            upload(hub, tmp_path, "lora", folder, code=1)

        def elsewhere(answer):
            for item in answer["objects"]:
                item["actions"]["verify"] = {"href": f"{hub.storage_url}/somewhere"}
            return answer

        (folder / "pytorch_lora_weights.safetensors").write_bytes(b"another")
        hub.fail(path="objects/batch", replace=elsewhere)
        assert "verified" in upload(hub, tmp_path, "lora", folder, code=1)
        assert hub.requests[-1].host == "storage"
        hub.fail(method="PUT", redirect=f"{hub.storage_url}/somewhere")
        assert not hub.leaks and not any(json.dumps(x).count("hf_tester") for x in hub.transcript() if x["host"] != "hub")

"""Downloads into the cache that huggingface_hub has too: whichever client fetched a file, the other finds it; whatever
goes wrong, what is there is right."""

import hashlib
import http.server
import json
import os
import random
import re
import resource
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir
from huggingface_hub.file_download import _CACHED_NO_EXIST, try_to_load_from_cache
from hub_server import HubServer

PROGRAM = os.environ.get("LORIKEET_BUILD_DIR", "build") + "/hub_program"  # the Hub's commands alone: it starts at once
REPO = "someone/model"
FILES = {
    "config.json": b'{"a": 1}',
    "unet/model.safetensors": random.Random(0).randbytes(300_000),
    "empty.txt": b"",
    "spa ce/ä + 100%.txt": b"a name to quote",
}
FLAVOURS = {
    "huggingface.co": {},
    "all files elsewhere": {"redirects": "all", "page_size": 2},
    "everything in one place": {"redirects": "none", "resolve_cache": True},
    "no error codes": {"redirects": "none", "error_codes": False},
}


@pytest.fixture
def hub(tmp_path):
    with HubServer(tmp_path / "hub") as hub:
        hub.put_repo(REPO, FILES)
        yield hub
    assert not hub.leaks


def command(hub, home, *words, token="hf_tester", **variables):
    env = {**hub.environment(home, token), "LORIKEET_HUB_BACKOFF": "0.01", **variables}
    return {"args": [PROGRAM, "hub", *map(str, words)], "env": env, "text": True}


def run(hub, home, *words, code=0, **variables):
    done = subprocess.run(**command(hub, home, *words, **variables), capture_output=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert "hf_tester" not in done.stdout + done.stderr
    return done


def download(hub, home, *words, **variables):
    return Path(run(hub, home, "download", REPO, *words, **variables).stdout.strip())


def failure(hub, home, *words, code=1, **variables):
    done = run(hub, home, "download", *words, code=code, **variables)
    assert done.stderr.count("lorikeet: error: ") == 1
    return done.stderr


def python(hub, home, code, token="hf_tester", expected=0):
    done = subprocess.run([sys.executable, "-c", "from huggingface_hub import *\n" + code], env=hub.environment(home, token),
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == expected, done.stderr[-3000:]
    return Path(done.stdout.strip().splitlines()[-1])


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def layout(home):
    """Everything in a cache but what one client notes for itself."""
    found = {}
    for path in sorted((home / "hub").rglob("*")):
        name = str(path.relative_to(home / "hub"))
        if name == "CACHEDIR.TAG" or "/trees" in name or path.is_dir():
            continue
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return found


def check_cache(home, whole=None):
    """No blob that is not what its name says, and nothing half."""
    for blob in (home / "hub").glob("*/blobs/*"):
        data = blob.read_bytes()
        assert len(blob.name) in (40, 64), f"{blob.name} is left"
        good = hashlib.sha256(data) if len(blob.name) == 64 else hashlib.sha1(b"blob %d\0" % len(data) + data)
        assert good.hexdigest() == blob.name
    for link in (home / "hub").glob("*/snapshots/**/*"):
        assert link.is_dir() or link.exists(), f"{link} leads nowhere"
    if whole:
        assert FILES.items() <= contents(whole).items()


def lines(requests):
    return [f"{r['host']} {r['request']}" for r in requests]


# One cache for both


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_both_clients_leave_the_same_cache_and_ask_the_same(flavour, tmp_path):
    with HubServer(tmp_path / "hub", **FLAVOURS[flavour]) as hub:
        hub.put_repo(REPO, FILES)
        ours = download(hub, tmp_path / "ours", "config.json"), download(hub, tmp_path / "ours", "unet/model.safetensors")
        half = len(hub.requests)
        for path in ("config.json", "unet/model.safetensors"):
            theirs = python(hub, tmp_path / "theirs", f"print(hf_hub_download({REPO!r}, {path!r}))")
            assert theirs.read_bytes() == FILES[path]
        assert hub.transcript()[:half] == hub.transcript(half)
        assert layout(tmp_path / "ours") == layout(tmp_path / "theirs")
        assert [path.read_bytes() for path in ours] == [FILES["config.json"], FILES["unet/model.safetensors"]]
    assert not hub.leaks


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_both_clients_take_the_same_snapshot(flavour, tmp_path):
    with HubServer(tmp_path / "hub", **FLAVOURS[flavour]) as hub:
        hub.put_repo(REPO, FILES)
        folder = download(hub, tmp_path / "ours")
        half = len(hub.requests)
        theirs = python(hub, tmp_path / "theirs", f"print(snapshot_download({REPO!r}))")
        assert layout(tmp_path / "ours") == layout(tmp_path / "theirs")
        assert contents(folder) == contents(theirs) == hub.files(REPO)
        # theirs come from several threads
        key = lambda r: (r["request"].split("?")[0], r["host"])  # noqa: E731
        ours, others = (sorted(part, key=key) for part in (hub.transcript()[:half], hub.transcript(half)))
        assert ours == others
    assert not hub.leaks


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_what_one_fetched_the_other_only_asks_about(first, hub, tmp_path):
    fetch = f"print(snapshot_download({REPO!r}))"
    one = download(hub, tmp_path / "home") if first == "ours" else python(hub, tmp_path / "home", fetch)
    before, start = layout(tmp_path / "home"), len(hub.requests)
    two = python(hub, tmp_path / "home", fetch) if first == "ours" else download(hub, tmp_path / "home")
    assert one == two and layout(tmp_path / "home") == before
    assert not [r for r in hub.requests[start:] if "/resolve/" in r.path and r.method != "HEAD"]
    download(hub, tmp_path / "home", "config.json")
    assert hub.requests[-1].method == "HEAD"
    start = len(hub.requests)
    download(hub, tmp_path / "home", "config.json", f"--revision={one.name}")
    assert len(hub.requests) == start
    report = scan_cache_dir(tmp_path / "home/hub")
    assert not report.warnings and [repo.repo_id for repo in report.repos] == [REPO]


def test_a_branch_that_moves_and_a_file_that_is_not_there(hub, tmp_path):
    home = tmp_path / "home"
    old = download(hub, home, "config.json")
    commit = hub.put_repo(REPO, {"config.json": b"new"})
    new = download(hub, home, "config.json")
    assert (old.read_bytes(), new.read_bytes(), new.parent.name) == (FILES["config.json"], b"new", commit)
    assert (home / "hub/models--someone--model/refs/main").read_text() == commit
    assert "has no file nope.txt" in failure(hub, home, REPO, "nope.txt")
    assert try_to_load_from_cache(REPO, "nope.txt", cache_dir=home / "hub") is _CACHED_NO_EXIST
    assert download(hub, home, "config.json", f"--revision={old.parent.name}") == old


def test_datasets_and_branches_have_places_of_their_own(hub, tmp_path):
    home = tmp_path / "home"
    hub.put_repo("someone/data", {"a.csv": b"1"}, type="dataset")
    hub.put_repo(REPO, {"a.txt": b"1"}, revision="refs/pr/1")
    run(hub, home, "download", "someone/data", "--repo_type=dataset")
    download(hub, home, "a.txt", "--revision=refs/pr/1")
    assert (home / "hub/datasets--someone--data/refs/main").exists()
    assert (home / "hub/models--someone--model/refs/refs/pr/1").exists()
    theirs = f"print(hf_hub_download({REPO!r}, 'a.txt', revision='refs/pr/1', local_files_only=True))"
    assert python(hub, home, theirs).read_bytes() == b"1"


def test_patterns_choose(hub, tmp_path):
    folder = download(hub, tmp_path / "a", "--include=*.json", "--include=unet/")
    assert contents(folder).keys() == {"config.json", "unet/model.safetensors"}
    folder = download(hub, tmp_path / "b", "--exclude=*.safetensors", "--exclude=.*", "--exclude=spa*")
    assert contents(folder).keys() == {"config.json", "empty.txt"}
    folder = download(hub, tmp_path / "c", "config.json", "empty.txt")
    assert contents(folder).keys() == {"config.json", "empty.txt"}
    assert "has no file none" in failure(hub, tmp_path / "c", REPO, "config.json", "none")
    assert "expected one" in failure(hub, tmp_path / "c", REPO, "config.json", "--include=*", code=2)


def test_a_pipeline_is_what_drawing_needs(hub, tmp_path):
    weights = ["unet/diffusion_pytorch_model{}", "vae/diffusion_pytorch_model{}", "text_encoder/{}"]
    small = ["model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json",
             "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"]  # fmt: skip
    single = {p.format(".safetensors" if "diff" in p else "model.safetensors") for p in weights}
    pickled = {p.format(".bin" if "diff" in p else "pytorch_model.bin") for p in weights}
    half = {p.format(".fp16.safetensors" if "diff" in p else "model.fp16.safetensors") for p in weights}
    other = {"safety_checker/model.safetensors", "v1-5-pruned.ckpt", "README.md", "unet/diffusion_flax_model.msgpack"}
    hub.put_repo("someone/sd", {p: p.encode() for p in {*small, *single, *pickled, *half, *other}})
    hub.put_repo("someone/old", {p: p.encode() for p in {*small, *pickled, *other}})
    sharded = {"unet/diffusion_pytorch_model.safetensors.index.json", "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
               "unet/diffusion_pytorch_model-00002-of-00002.safetensors"}  # fmt: skip
    rest = {p for p in single if not p.startswith("unet")}
    hub.put_repo("someone/large", {p: p.encode() for p in {*small, *sharded, *rest, *pickled}})

    def fetched(repo, *flags):
        return contents(Path(run(hub, tmp_path / repo / str(flags), "download", repo, "--pipeline", *flags).stdout.strip())).keys()

    assert fetched("someone/sd") == {*small, *single}
    assert fetched("someone/sd", "--variant=fp16") == {*small, *half}
    assert fetched("someone/old") == {*small, *pickled}
    assert fetched("someone/large") == {*small, *sharded, *rest}


def test_ls_lists(hub, tmp_path):
    assert run(hub, tmp_path, "ls", REPO).stdout.splitlines()[1:3] == ["     8  config.json", "     0  empty.txt"]
    listed = json.loads(run(hub, tmp_path, "ls", REPO, "--json").stdout)
    entry = next(e for e in listed if e["path"] == "unet/model.safetensors")
    assert entry["size"] == 300_000
    assert entry["sha256"] == hashlib.sha256(FILES["unet/model.safetensors"]).hexdigest()


# Several at once, and killed ones


def test_three_at_once_fetch_a_file_once(hub, tmp_path):
    hub.fail(method="GET", path="/lfs/", times=9, pace=0.03)
    ours = [subprocess.Popen(**command(hub, tmp_path / "home", "download", REPO, "unet/model.safetensors"),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]  # fmt: skip
    theirs = python(hub, tmp_path / "home", f"print(hf_hub_download({REPO!r}, 'unet/model.safetensors'))")
    paths = {Path(p.communicate(timeout=60)[0].strip()) for p in ours}
    assert paths == {theirs} and theirs.read_bytes() == FILES["unet/model.safetensors"]
    assert len([r for r in hub.requests if r.host == "storage"]) == 1
    check_cache(tmp_path / "home")


def test_a_killed_download_leaves_nothing_wrong(hub, tmp_path):
    home, chance = tmp_path / "home", random.Random(1)
    hub.fail(path="/resolve/|/lfs/", times=10_000, pace=0.01)
    for _ in range(12):
        process = subprocess.Popen(**command(hub, home, "download", REPO), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(chance.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for half in (home / "hub").glob("*/blobs/*.incomplete"):
            half.unlink()  # such are named so, and removed after a day
        check_cache(home)
    check_cache(home, download(hub, home))


def test_what_a_killed_download_left_is_removed_after_a_day(hub, tmp_path):
    path = download(hub, tmp_path / "home", "config.json")
    blob = path.resolve()
    old, new = (blob.with_name(f"{blob.name}.{digits}.incomplete") for digits in ("0123abcd", "4567abcd"))
    old.write_bytes(b"x"), new.write_bytes(b"y")
    os.utime(old, (time.time() - 90_000,) * 2)
    download(hub, tmp_path / "home", "config.json", "--force_download")
    assert not old.exists() and new.exists()


def test_ctrl_c_ends_it_at_once_and_leaves_nothing(hub, tmp_path):
    hub.fail(method="GET", path="/lfs/", pace=0.5)
    process = subprocess.Popen(**command(hub, tmp_path / "home", "download", REPO), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not any(r.host == "storage" for r in hub.requests):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    started = time.time()
    process.communicate(timeout=10)
    assert process.returncode == 130 and time.time() - started < 3
    check_cache(tmp_path / "home")


# Faults

FAULTS = {
    "503": {"status": 503},
    "500 three times": {"status": 500, "times": 3},
    "429": {"status": 429, "headers": {"ratelimit": '"api";r=0;t=0'}},
    "no answer": {"refuse": True},
    "a lost answer": {"lose": True},
    "a cut answer": {"cut": 7},
    "nothing of the body": {"cut": 0},
    "another byte": {"wrong": True},
    "not found": {"status": 404},
    "forbidden": {"status": 403},
    "bad token": {"status": 401},
    "a login page": {"status": 200, "body": b"<html>Log in</html>"},
    "an empty answer": {"status": 200},
    "too many redirects": {"status": 302, "headers": {"Location": "/someone/model"}, "times": 99},
    "a redirect to nowhere": {"status": 302, "headers": {"Location": "ftp://example/x"}},
    "in chunks": {"chunked": True},
    "compressed": {"gzip": True},
    "without end": {"headers": {"X-Linked-Size": "100"}},
    "another size": {"headers": {"X-Linked-Size": "1"}},
    "a bad etag": {"headers": {"X-Linked-Etag": '"../../../x"'}},
    "another etag": {"headers": {"X-Linked-Etag": '"' + "0" * 64 + '"'}},
    "a bad commit": {"headers": {"X-Repo-Commit": "../../x"}},
    "another commit": {"headers": {"X-Repo-Commit": "0" * 40}},
    "408": {"status": 408},
    "502": {"status": 502},
    "504": {"status": 504},
    "429 with Retry-After": {"status": 429, "headers": {"Retry-After": "0"}},
    "silence": {"late": 0.6},
    "no such revision": {"status": 404, "headers": {"X-Error-Code": "RevisionNotFound"}},
    "disabled": {"status": 403, "headers": {"X-Error-Message": "Access to this resource is disabled."}},
    "a proxy's refusal": {"status": 407},
    "no such repository": {"status": 401, "headers": {"X-Error-Code": "RepoNotFound"}},
    "no such file": {"status": 404, "headers": {"X-Error-Code": "EntryNotFound"}},
    "gated": {"status": 403, "headers": {"X-Error-Code": "GatedRepo"}},
    "another host": {"status": 302, "headers": {"Location": "STORAGE/elsewhere"}},
    "headers without end": {"headers": {f"X-{i}": "x" * 100 for i in range(3000)}},
}
SAID = {"no such repository": "there is no model|answers 401", "gated": "is gated|403", "headers without end": "KiB of headers",
        "forbidden": "403", "no such revision": "has no revision|404", "disabled": "has disabled access", "a proxy's refusal": "the proxy on the way"}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_request_ends_with_the_right_bytes_or_a_clear_error(fault, hub, tmp_path):
    files = ("config.json", "unet/model.safetensors")
    download(hub, tmp_path / "good", *files)
    count, failed = len(hub.requests), 0
    for number in range(count):
        home = tmp_path / str(number)
        hub.faults.clear()
        what = dict(FAULTS[fault])
        if "Location" in what.get("headers", {}):
            what["headers"] = {"Location": what["headers"]["Location"].replace("STORAGE", hub.storage_url)}
        for _ in range(what.pop("times", 1)):  # each strikes once: at this request, at the next, ...
            hub.fail(number=number, **what)
        waits = dict.fromkeys(("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"), "0.3" if fault == "silence" else "20")
        done = subprocess.run(**command(hub, home, "download", REPO, *files, **waits), capture_output=True, timeout=60)
        assert done.returncode in (0, 1), done.stderr
        check_cache(home)
        if done.returncode == 0:
            folder = Path(done.stdout.strip())
            assert {p: FILES[p] for p in files} == contents(folder)
        else:
            failed += 1
            assert done.stderr.count("lorikeet: error: ") == 1
            assert "hf_tester" not in done.stderr and re.search(SAID.get(fault, ""), done.stderr), done.stderr
            hub.faults.clear()
            assert {p: FILES[p] for p in files} == contents(download(hub, home, *files))
        assert not list(tmp_path.glob("x*")) and not (home / "x").exists()
    retried = {"503", "500 three times", "429", "no answer", "a lost answer", "a cut answer", "nothing of the body", "in chunks",
               "compressed", "silence", "408", "502", "504", "429 with Retry-After"}  # fmt: skip
    if fault in retried:
        assert failed == 0


def test_a_broken_download_goes_on_where_it_broke(hub, tmp_path):
    hub.fail(method="GET", path="/lfs/", cut=100_000)
    hub.fail(method="GET", path="/lfs/", cut=50_000)
    done = run(hub, tmp_path / "home", "download", REPO, "unet/model.safetensors")
    assert done.stderr.count("trying again in") == 2
    assert [r.headers.get("range") for r in hub.requests if r.host == "storage"] == [None, "bytes=100000-299999", "bytes=150000-299999"]
    check_cache(tmp_path / "home")


def test_bytes_that_are_not_those_promised_are_never_kept(hub, tmp_path):
    hub.fail(method="GET", path="/lfs/|/resolve/", times=99, wrong=True)
    assert "sha256" in failure(hub, tmp_path / "home", REPO, "unet/model.safetensors")
    assert "git's sha1" in failure(hub, tmp_path / "home", REPO, "config.json")
    assert not list((tmp_path / "home/hub").glob("*/blobs/*"))
    assert not list((tmp_path / "home/hub").glob("*/snapshots/*/*"))


def test_a_wait_is_as_long_as_told_and_shown(hub, tmp_path):
    hub.fail(path="/revision/", status=429, headers={"ratelimit": '"api";r=0;t=1'})
    started = time.time()
    done = run(hub, tmp_path / "home", "download", REPO)
    assert time.time() - started >= 2
    assert "answered 429; trying again in 2 seconds" in done.stderr
    hub.fail(path="/revision/", status=429, times=99)
    assert "too many requests" in failure(hub, tmp_path / "home2", REPO)


def test_what_is_here_stands_in_when_the_hub_does_not_answer(hub, tmp_path):
    path = download(hub, tmp_path / "home", "config.json")
    for fault in ({"status": 503}, {"refuse": True}, {"status": 401}):
        hub.fail(path="/resolve/", times=1, **fault)
        done = run(hub, tmp_path / "home", "download", REPO, "config.json")
        assert Path(done.stdout.strip()) == path and f"going on with {path}" in done.stderr
    assert "no connection" not in done.stderr
    offline = failure(hub, tmp_path / "home", REPO, "empty.txt", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in offline
    nobody = failure(hub, tmp_path / "new", REPO, "config.json", HF_ENDPOINT="http://127.0.0.1:9")
    assert "127.0.0.1:9" in nobody and "hint" in nobody


def test_a_full_disk_is_told_and_leaves_nothing(hub, tmp_path):
    limit = lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))  # noqa: E731
    done = subprocess.run(**command(hub, tmp_path / "home", "download", REPO, "unet/model.safetensors"), capture_output=True,
                          preexec_fn=limit, restore_signals=False)  # fmt: skip
    assert done.returncode == 1 and "cannot write" in done.stderr and "free some disk space" in done.stderr
    check_cache(tmp_path / "home")
    hub.fail(method="HEAD", path="/resolve/", headers={"X-Linked-Size": str(10**15)})
    assert "the download needs 1e+06 GB" in failure(hub, tmp_path / "home", REPO, "unet/model.safetensors")
    check_cache(tmp_path / "home")


# Who may see what


def test_people_are_told_what_is_wrong(hub, tmp_path):
    hub.put_repo("someone/secret", FILES, private=True)
    hub.put_repo("someone/gated", FILES, gated="auto")
    home = tmp_path / "home"
    absent = failure(hub, home, "someone/nothing")
    assert "there is no model someone/nothing" in absent and "spelling" in absent
    assert "or it is private" in failure(hub, home, "someone/secret", token=None)
    assert "is gated" in failure(hub, home, "someone/gated", "config.json") and "accept" in failure(hub, home, "someone/gated", "config.json")
    assert 'has no revision "v2"' in failure(hub, home, REPO, "--revision=v2")
    assert "has no file x.json" in failure(hub, home, REPO, "x.json")
    assert "does not know the token" in failure(hub, home, REPO, token="hf_wrong")
    assert "is no id on the Hub" in failure(hub, home, "a/b/c", code=2)
    assert "is not the name of a branch" in failure(hub, home, REPO, "--revision=../../x", code=2)
    assert "is not a path inside a repository" in failure(hub, home, REPO, "../../x", code=2)
    assert not home.exists() or not list(home.glob("hub/*/snapshots/*"))


def test_the_token_stays_on_the_hub(hub, tmp_path):
    hub.put_repo("tester/secret", FILES, private=True)
    run(hub, tmp_path / "home", "download", "tester/secret", "unet/model.safetensors", "config.json")
    assert [r for r in hub.requests if r.host == "storage"] and not hub.leaks
    for path in ("/revision/", "/tree/", "/resolve/"):
        hub.fail(path=path, redirect=f"{hub.storage_url}/elsewhere", times=99)
        failure(hub, tmp_path / path.strip("/"), "tester/secret")
        hub.faults.clear()
    hub.fail(path="/tree/", headers={"Link": f'<{hub.storage_url}/more>; rel="next"'})
    assert "another host" in failure(hub, tmp_path / "next", "tester/secret")
    assert not hub.leaks
    hub.leaks.clear()


@pytest.mark.parametrize("path", ["../../x", "/tmp/x", "a/../../x", "a\\..\\x", "a//x", "a/\u0001x", "..", "", "a\0b", "x" * 256, "x/" * 2500 + "x",
                                  "\u009b2J", "C:\\x", "./x", "x/"])  # fmt: skip
def test_a_listing_cannot_write_outside(path, hub, tmp_path):
    def climb(listing):
        return [{**item, "path": path} if item["path"] == "config.json" else item for item in listing]

    hub.fail(path="/tree/", replace=climb, times=2)
    assert "not a path inside the repository" in failure(hub, tmp_path / "home", REPO)
    assert not (tmp_path / "home/hub").exists()


@pytest.mark.parametrize("answer", [b"[]", b"{}", b"[1]", b"null", b'{"sha": 3}', b'{"sha": "main"}', b"[" * 100_000, b"\xff\xfe"])
def test_an_answer_that_is_not_what_it_should_be(answer, hub, tmp_path):
    hub.fail(path="/revision/", status=200, body=answer)
    assert "/revision/main" in failure(hub, tmp_path / "home", REPO)
    hub.fail(path="/tree/", status=200, body=answer)
    assert REPO in failure(hub, tmp_path / "home", REPO)
    assert answer == b"[]" or not (tmp_path / "home/hub").exists()  # a repository may be empty


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path):
    def answer(handler):
        handler.send_response(404)
        handler.send_header("X-Error-Code", "RepoNotFound")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)  # fmt: skip
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (http.server.BaseHTTPRequestHandler,), {"do_GET": answer, "log_message": lambda *words: None}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with HubServer(tmp_path / "hub") as hub:
        named, numbered = (f"https://{host}:{server.server_port}" for host in ("localhost", "127.0.0.1"))
        unknown = failure(hub, tmp_path / "home", REPO, HF_ENDPOINT=named)
        assert "certificate" in unknown and "SSL_CERT_FILE" in unknown and "trying again" not in unknown
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        for variable in names:
            trusted = {**dict.fromkeys(names, ""), variable: str(certificate)}
            assert "there is no model" in failure(hub, tmp_path / "home", REPO, HF_ENDPOINT=named, **trusted)
        assert "certificate" in failure(hub, tmp_path / "home", REPO, HF_ENDPOINT=numbered, SSL_CERT_FILE=str(certificate))
    server.shutdown()


def test_names_as_long_as_names_can_be_and_in_any_script(hub, tmp_path):
    files = {"x" * 255: b"1", "\u00e4/\u4e16\u754c/\U0001f426 %2F#?&=+;'\".txt": b"2", "-rf": b"3", "a/..b": b"4", "~": b"5", "$HOME": b"6"}
    hub.put_repo("someone/names", files)
    folder = Path(run(hub, tmp_path / "home", "download", "someone/names").stdout.strip())
    assert files.items() <= contents(folder).items()
    theirs = python(hub, tmp_path / "theirs", "print(snapshot_download('someone/names'))")
    assert contents(theirs) == contents(folder) and layout(tmp_path / "theirs") == layout(tmp_path / "home")
    check_cache(tmp_path / "home")


def test_what_was_here_stays_when_what_is_new_does_not_come(hub, tmp_path):
    old = download(hub, tmp_path / "home", "config.json")
    hub.put_repo(REPO, {"config.json": b"new"})
    hub.fail(method="GET", path="/resolve/", status=403, times=99)
    assert "403" in failure(hub, tmp_path / "home", REPO, "config.json")
    assert (tmp_path / "home/hub/models--someone--model/refs/main").read_text() == old.parent.name
    hub.fail(path="/resolve/", refuse=True, times=99)
    hub.faults.reverse()
    assert download(hub, tmp_path / "home", "config.json") == old


def test_the_times_to_wait_come_from_the_environment(hub, tmp_path):
    for variable, fault in [("HF_HUB_ETAG_TIMEOUT", {"method": "HEAD"}), ("HF_HUB_DOWNLOAD_TIMEOUT", {"method": "GET"})]:
        hub.faults.clear()
        hub.fail(path="/resolve/|/lfs/", late=2, times=99, **fault)
        started = time.time()
        told = failure(hub, tmp_path / variable, REPO, "unet/model.safetensors", **{variable: "0.1"})
        assert "nothing came for 0.1 seconds" in told and time.time() - started < 5
    check_cache(tmp_path / "HF_HUB_DOWNLOAD_TIMEOUT")


def test_no_words_about_the_token_at_any_verbosity(hub, tmp_path):
    loud = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "TRANSFORMERS_VERBOSITY": "debug", "CURL_DEBUG": "1"}
    hub.fail(path="/tree/", status=503)
    done = run(hub, tmp_path / "home", "download", REPO, **loud)  # looks itself
    assert "Bearer" not in done.stdout + done.stderr
    for file in (tmp_path / "home").rglob("*"):
        assert file.is_symlink() or not file.is_file() or b"hf_tester" not in file.read_bytes()


def test_an_endpoint_with_a_path(tmp_path):
    """Of a mirror behind a proxy."""
    with HubServer(tmp_path / "hub", redirects="none") as hub:
        hub.put_repo(REPO, FILES)

        class Below(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                there = self.path.removeprefix("/mirror/hf") if self.path.startswith("/mirror/hf/") else "/nothing"
                self.send_response(307)
                self.send_header("Location", hub.url + there)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_GET
            log_message = lambda *words: None  # noqa: E731

        asked = []
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Below)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}/mirror/hf/"
        # Its redirects lead to another host: they are followed for bytes only, and without the token.
        assert "somewhere else" in failure(hub, tmp_path / "home", REPO, HF_ENDPOINT=endpoint)
        assert asked == [f"/mirror/hf/api/models/{REPO}/revision/main"] and not hub.requests
        server.shutdown()


def test_a_proxy_of_the_environment_is_used(tmp_path):
    # The loopback hub takes requests with whole addresses, as a proxy gets them.
    with HubServer(tmp_path / "hub", redirects="none") as hub:
        hub.put_repo(REPO, FILES)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            path = download(hub, tmp_path / name, "config.json", HF_ENDPOINT="http://hub.invalid", **{name: hub.url})
            assert path.read_bytes() == FILES["config.json"]
        for name, exception in [("http_proxy", "no_proxy"), ("HTTP_PROXY", "no_proxy"), ("HTTP_PROXY", "NO_PROXY"), ("all_proxy", "NO_PROXY")]:
            start, excepted = len(hub.requests), {name: hub.url, exception: "hub.invalid"}
            assert "hub.invalid" in failure(hub, tmp_path / "home", REPO, HF_ENDPOINT="http://hub.invalid", **excepted)
            assert len(hub.requests) == start
        refused = failure(hub, tmp_path / "home", REPO, HF_ENDPOINT="https://hub.invalid", https_proxy=hub.url)
        assert "proxy" in refused and "no_proxy" in refused


def test_a_large_file_comes_in_several_ranges_at_once(hub, tmp_path):
    block = random.Random(2).randbytes(1 << 20)
    data = b"".join(block[i:] + block[:i] for i in range(150))
    hub.put_repo("someone/large", {"model.safetensors": data})
    hub.fail(host="storage", number=1, cut=10_000_000)
    done = run(hub, tmp_path / "home", "download", "someone/large", "model.safetensors", "--connections=3")
    assert Path(done.stdout.strip()).read_bytes() == data
    part = 64 << 20
    asked = {r.headers.get("range") for r in hub.requests if r.host == "storage"}
    assert {f"bytes=0-{part - 1}", f"bytes={part}-{2 * part - 1}", f"bytes={2 * part}-{len(data) - 1}"} < asked
    check_cache(tmp_path / "home")
    hub.faults.clear()
    hub.fail(host="storage", times=99, pace=0.02)
    for moment in (0.05, 0.15, 0.25, 0.35):
        process = subprocess.Popen(**command(hub, tmp_path / "killed", "download", "someone/large", "--connections=3"), stderr=subprocess.DEVNULL)
        time.sleep(moment)
        process.kill()
        process.wait()
        blobs = [blob for blob in (tmp_path / "killed/hub").glob("*/blobs/*") if len(blob.name) == 64]
        assert all(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name for blob in blobs)
    hub.faults.clear()
    done = run(hub, tmp_path / "killed", "download", "someone/large", "model.safetensors", "--connections=3")
    assert Path(done.stdout.strip()).read_bytes() == data
    hub.fail(host="storage", times=99, wrong=True)
    assert "sha256" in failure(hub, tmp_path / "other", "someone/large", "model.safetensors")
    check_cache(tmp_path / "other")

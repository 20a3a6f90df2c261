"""`lorikeet hub cache ...` beside huggingface_hub's reader and remover of the same cache."""

import concurrent.futures
import fcntl
import hashlib
import json
import os
import pty
import random
import re
import subprocess
import time
from pathlib import Path

import pytest
from hub_server import HubServer
from huggingface_hub import scan_cache_dir
from huggingface_hub.utils import _shared_blobs

PROGRAM = os.environ.get("LORIKEET_BUILD_DIR", "build") + "/hub_program"  # the Hub's commands alone: it starts at once
OLD, NEW, TAGGED, OTHER = ("1" * 40, "2" * 40, "3" * 40, "4" * 40)


def sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Cache:
    """A cache as downloads leave it."""

    def __init__(self, home):
        self.home, self.hub = home, home / "hub"
        self.hub.mkdir(parents=True)
        (self.hub / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")

    def repo(self, name):
        type, owner, id = name.split("/")
        return self.hub / f"{type}s--{owner}--{id}"

    def add(self, name, commit, files, refs=()):
        repo = self.repo(name)
        for path, data in files.items():
            blob = repo / "blobs" / (hashlib.sha256(data).hexdigest() if path.endswith("safetensors") else sha1(data))
            link = repo / "snapshots" / commit / path
            blob.parent.mkdir(parents=True, exist_ok=True)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not blob.is_symlink():
                blob.write_bytes(data)
            link.symlink_to(os.path.relpath(blob, link.parent))
        for ref in refs:
            (repo / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
            (repo / "refs" / ref).write_text(commit)

    def share(self, name, data):
        """What a Xet download does: the bytes lie in the shared place, the repository's blob is a link there."""
        digest = hashlib.sha256(data).hexdigest()
        blob = self.repo(name) / "blobs" / digest
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        assert _shared_blobs.publish_blob_to_shared_store(
            blob_path=str(blob), xet_hash=digest, cache_dir=self.hub, expected_size=len(data))  # fmt: skip
        assert blob.is_symlink()
        return self.hub / "blobs" / digest[:2] / digest

    def run(self, *words, code=0, **options):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "XDG_"))}
        done = subprocess.run([PROGRAM, "hub", "cache", *words], env={**env, "HF_HOME": str(self.home)},
                              capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **options)  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def listed(self, *words):
        done = subprocess.run([PROGRAM, "hub", "cache", "ls", "--json", *words], env={**os.environ, "HF_HOME": str(self.home)},
                              capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
        return json.loads(done.stdout)

    def state(self):
        """Everything that is there but the locks."""
        return {str(p.relative_to(self.hub)): os.readlink(p) if p.is_symlink() else p.read_bytes()
                for p in sorted(self.hub.rglob("*")) if ".locks" not in p.parts and not p.name.endswith(".lock")
                and (p.is_symlink() or p.is_file())}  # fmt: skip


@pytest.fixture
def cache(tmp_path):
    return filled(tmp_path)


def filled(folder):
    cache = Cache(folder)
    weights = b"weights" * 1000
    cache.add("model/me/one", OLD, {"config.json": b"{}", "unet/old.safetensors": weights}, [])
    cache.add("model/me/one", NEW, {"config.json": b"{}", "unet/new.safetensors": b"n" * 5000, "notes.txt": b"new"}, ["main", "refs/pr/1"])
    cache.add("model/me/one", TAGGED, {"config.json": b'{"a": 1}', "unet/old.safetensors": weights}, ["v1"])
    cache.add("dataset/me/two", OTHER, {"data/train.safetensors": b"rows" * 300}, ["main"])
    return cache


def size_text(size):
    return f"{size / 1000:.1f}K" if size >= 1000 else f"{size}B"


def theirs(cache):
    return scan_cache_dir(cache.hub)


def check_alike(cache):
    """What both read is the same, and huggingface_hub finds nothing wrong."""
    found = theirs(cache)
    assert not found.warnings
    repos = {r["id"]: (r["size"], r["revisions"], r["refs"]) for r in cache.listed()}
    assert repos == {r.cache_id: (r.size_on_disk, len(r.revisions), sorted(r.refs)) for r in found.repos}
    revisions = {(r["id"], r["revision"]): (r["size"], r["files"], r["refs"], r["snapshot_path"]) for r in cache.listed("--revisions")}
    assert revisions == {(r.cache_id, v.commit_hash): (v.size_on_disk, v.nb_files, sorted(v.refs), str(v.snapshot_path))
                         for r in found.repos for v in r.revisions}  # fmt: skip
    times = {r["id"]: (r["last_accessed"], r["last_modified"]) for r in cache.listed()}
    assert times == {r.cache_id: pytest.approx((r.last_accessed, r.last_modified), abs=1e-3) for r in found.repos}
    return repos


# ls


def test_both_list_the_same(cache):
    cache.share("model/me/three", b"s" * 40000)
    cache.share("dataset/me/two", b"s" * 40000)
    for name in ("model/me/three", "dataset/me/two"):
        cache.add(name, "5" * 40, {"x.safetensors": b"s" * 40000}, ["shared"])
    assert len(check_alike(cache)) == 3
    text = cache.run("ls")
    assert re.search(r"^ID +SIZE +LAST_ACCESSED +LAST_MODIFIED +REFS$", text, re.MULTILINE)
    assert re.search(r"^model/me/one +12\.0K +just now +just now +main refs/pr/1 v1$", text, re.MULTILINE)
    physical = theirs(cache).size_on_disk
    assert physical < sum(r["size"] for r in cache.listed())
    assert f"3 repositories with 6 revisions, {physical / 1000:.1f}K in {cache.hub}" in text
    assert re.search(rf"^model/me/one +{OLD} +7\.0K +just now$", cache.run("ls", "--revisions"), re.MULTILINE)


def test_the_order(cache):
    os.utime(cache.repo("model/me/one") / "blobs" / sha1(b"new"), (2e9, 1e9))
    for blob in (cache.repo("dataset/me/two") / "blobs").iterdir():
        os.utime(blob, (1e9, 2e9))
    order = {sort: [r["id"][-3:] for r in cache.listed(f"--sort={sort}")] for sort in ("name", "size", "accessed", "modified")}
    assert order == {"name": ["two", "one"], "size": ["one", "two"], "accessed": ["one", "two"], "modified": ["two", "one"]}


def test_what_is_no_repository_is_passed_over_and_damage_is_told(cache):
    (cache.hub / "notes").mkdir()
    (cache.hub / "models--me--empty").mkdir()
    (cache.hub / "blobs").mkdir()  # of somebody else: it has no mark
    (cache.hub / "blobs/mine.txt").write_text("mine")
    (cache.repo("model/me/one") / "refs/gone").write_text("9" * 40)
    (cache.repo("model/me/one") / "snapshots" / OLD / "unet/lost.bin").symlink_to("../../../blobs/lost")
    text = cache.run("ls")
    assert text.count("is not a repository of the cache") == 3
    assert "refs/gone means a commit of which nothing is here" in text and "lost.bin leads nowhere" in text
    assert sorted(r["id"] for r in cache.listed()) == ["dataset/me/two", "model/me/one"]
    cache.run("rm", "--yes", "model/me/one")
    cache.run("prune", "--yes")
    assert (cache.hub / "blobs/mine.txt").exists() and (cache.hub / "notes").exists()


def test_without_a_cache(tmp_path):
    cache = Cache(tmp_path)
    (cache.hub / "CACHEDIR.TAG").unlink()
    assert "0 repositories" in cache.run("ls") and cache.listed() == []
    cache.hub.rmdir()
    assert "there is no cache" in cache.run("ls", code=1)


# rm


@pytest.mark.parametrize("targets", [
    ["model/me/one"], ["dataset/me/two"], ["model/me/one", "dataset/me/two"], [OLD], [NEW], [TAGGED], [OLD, TAGGED],
    [OLD, NEW, TAGGED], [OTHER, OLD], ["model/me/one", OLD],
], ids=lambda targets: "+".join(t if "/" in t else t[0] for t in targets))  # fmt: skip
def test_both_remove_the_same(targets, tmp_path):
    ours, other = filled(tmp_path / "ours"), filled(tmp_path / "theirs")
    commits = {v.commit_hash for r in theirs(other).repos for v in r.revisions if v.commit_hash in targets or r.cache_id in targets}
    strategy = theirs(other).delete_revisions(*commits)
    strategy.execute()
    text = ours.run("rm", "--yes", *targets)
    assert ours.state() == other.state()
    size = size_text(strategy.expected_freed_size)
    assert f"{size} are free again" in text and f", {size}\n" in text
    check_alike(ours)


def test_what_two_repositories_share_goes_with_the_last(tmp_path):
    caches = []
    for name in ("ours", "theirs"):
        cache = Cache(tmp_path / name)
        payload = cache.share("model/me/one", b"s" * 40000)
        assert payload == cache.share("model/me/two", b"s" * 40000)
        for repo, commit in [("model/me/one", OLD), ("model/me/two", NEW)]:
            cache.add(repo, commit, {"x.safetensors": b"s" * 40000}, ["main"])
        caches.append((cache, payload))
    for commit, freed in [(OLD, "0B"), (NEW, "40.0K")]:
        theirs(caches[1][0]).delete_revisions(commit).execute()
        assert f"Removed; {freed} are free again" in caches[0][0].run("rm", "--yes", commit)
        assert caches[0][1].exists() == caches[1][1].exists() == (commit == OLD)
        assert theirs(caches[0][0]).size_on_disk == theirs(caches[1][0]).size_on_disk == (40000 if commit == OLD else 0)


def test_nothing_outside_is_touched(cache, tmp_path):
    """Links that lead out of the cache, as a hostile or a clever hand could have put them there."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file.txt").write_text("mine")
    (outside / "folder/file.txt").write_text("mine")
    snapshot = cache.repo("model/me/one") / "snapshots" / OLD
    (snapshot / "a").symlink_to(outside / "file.txt")
    (snapshot / "b").symlink_to(outside / "folder")
    (snapshot / "c").symlink_to(cache.repo("dataset/me/two") / "blobs" / next((cache.repo("dataset/me/two") / "blobs").iterdir()).name)
    (cache.repo("model/me/one") / "snapshots" / ("6" * 40)).symlink_to(outside / "folder")
    (cache.repo("model/me/one") / "refs/linked").symlink_to(outside)
    cache.run("rm", "--yes", "model/me/one")
    assert not cache.repo("model/me/one").exists()
    assert (outside / "file.txt").read_text() == (outside / "folder/file.txt").read_text() == "mine"
    assert [r["id"] for r in cache.listed()] == ["dataset/me/two"] and cache.listed()[0]["size"] == 1200


@pytest.mark.parametrize("part", ["", "blobs", "snapshots", "refs"])
def test_a_folder_that_is_a_link_is_left_alone(cache, tmp_path, part):
    folder = cache.repo("model/me/one") / part
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    before = cache.state()
    assert f"{folder} is a link to {tmp_path / 'elsewhere'}" in cache.run("rm", "--yes", "model/me/one", "dataset/me/two", code=1)
    assert cache.state() == before


def test_a_download_under_way_is_left_alone(cache):
    lock = cache.hub / ".locks/models--me--one/abc.lock"
    lock.parent.mkdir(parents=True)
    half = cache.repo("model/me/one") / "blobs/abc.12345678.incomplete"
    half.write_bytes(b"half")
    before = cache.state()
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "a download of model/me/one is under way" in cache.run("rm", "-y", "model/me/one", "dataset/me/two", code=1)
        assert "a download of model/me/one is under way" in cache.run("prune", "-y", code=1)
        assert cache.state() == before
        assert "1 downloads are under way" in cache.run("ls")
    cache.run("prune", "--yes")
    assert not half.exists()


def test_nothing_is_removed_unasked(cache):
    before = cache.state()
    assert "--yes removes without asking" in cache.run("rm", "model/me/one", code=2)
    assert "--yes removes without asking" in cache.run("prune", code=2)
    text = cache.run("rm", "--dry_run", "model/me/one", OTHER)
    assert "4 revisions, 13.2K" in text and "model/me/one (all of it)" in text and "dataset/me/two (all of it)" in text
    assert f"model/me/one {OLD} (detached)" in cache.run("prune", "--dry_run")
    for wrong in ("me/one", "model/me/three", "7" * 40, OLD[:12], "model/../..", ""):
        assert "does not hold" in cache.run("rm", "--yes", "model/me/one", wrong, code=1)
    assert cache.state() == before


@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_a_person_is_asked(cache, answer):
    master, terminal = pty.openpty()
    env = {**os.environ, "HF_HOME": str(cache.home)}
    with subprocess.Popen([PROGRAM, "hub", "cache", "rm", "dataset/me/two"], env=env, stdin=terminal, stdout=subprocess.PIPE, text=True) as asked:
        os.write(master, answer.encode() + b"\n")
        assert "Remove it? [y/N]" in asked.stdout.read()
    os.close(master), os.close(terminal)
    assert asked.returncode == 0 and cache.repo("dataset/me/two").exists() == (answer != "y")


# prune


def test_both_prune_the_same(tmp_path):
    caches = [filled(tmp_path / "ours"), filled(tmp_path / "theirs")]
    for cache in caches:
        cache.share("model/me/gone", b"s" * 40000)
        (cache.repo("model/me/gone") / "blobs" / hashlib.sha256(b"s" * 40000).hexdigest()).unlink()
        (cache.repo("model/me/gone") / "blobs").rmdir(), cache.repo("model/me/gone").rmdir()
        (cache.repo("dataset/me/two") / "blobs/abc.12345678.incomplete").write_bytes(b"half")
        (cache.repo("dataset/me/two") / "blobs/def.incomplete").write_bytes(b"half")
    text = caches[0].run("prune", "--yes")
    assert "1 detached revision, 2 downloads that were left, 1 unused blob, 40.0K" in text and "40.0K are free" in text
    hf = Path(os.sys.executable).parent / "hf"
    subprocess.run([hf, "cache", "prune", "--yes", "--cache-dir", caches[1].hub], check=True, capture_output=True)
    assert caches[0].state() == caches[1].state()
    assert "There is nothing to remove" in caches[0].run("prune", "--yes")
    check_alike(caches[0])


def test_what_a_killed_removal_left_is_pruned(cache):
    for link in (cache.repo("model/me/one") / "snapshots" / NEW).rglob("*"):
        if link.is_symlink():
            link.unlink()
    cache.run("prune", "--yes")
    names = {blob.name for blob in (cache.repo("model/me/one") / "blobs").iterdir()}
    assert names == {sha1(b'{"a": 1}'), hashlib.sha256(b"weights" * 1000).hexdigest()}


# verify


def test_damaged_files_are_named(cache):
    cache.share("model/me/three", b"s" * 40000)
    cache.add("model/me/three", "5" * 40, {"x.safetensors": b"s" * 40000}, ["main"])
    assert "7 files are what the Hub promised\n" == cache.run("verify")
    assert cache.run("verify", "dataset/me/two").startswith("1 file ") and cache.run("verify", OLD).startswith("2 file")
    weights = cache.repo("model/me/one") / "blobs" / hashlib.sha256(b"weights" * 1000).hexdigest()
    weights.write_bytes(b"weighTs" + b"weights" * 999)
    (cache.repo("model/me/one") / "blobs" / sha1(b"new")).write_bytes(b"newer")
    text = cache.run("verify", code=1)
    assert f"model/me/one {OLD} unet/old.safetensors: sha256 " in text and f"{weights.name} was promised" in text
    assert f"model/me/one {NEW} notes.txt: git's sha1 {sha1(b'newer')}, {sha1(b'new')} was promised" in text
    assert "5 files are what" in text and "2 files of the cache are not right" in text
    (cache.repo("model/me/three") / "blobs" / hashlib.sha256(b"s" * 40000).hexdigest()).unlink()
    (cache.repo("model/me/three") / "snapshots" / ("5" * 40) / "own.txt").write_text("?")
    text = cache.run("verify", "model/me/three", code=1)
    assert "x.safetensors: leads nowhere" in text and "of 1 file that is not known" in text
    assert "does not hold model/me/four" in cache.run("verify", "model/me/four", code=1)


def test_a_file_that_is_no_link_is_compared_with_the_listing(tmp_path):
    with HubServer(tmp_path / "hub", gitattributes=False) as hub:
        hub.put_repo("me/one", {"a.txt": b"small", "b.safetensors": b"large"})
        cache = Cache(tmp_path / "home")
        env = hub.environment(cache.home) | {"HF_HUB_DISABLE_SYMLINKS": "1"}
        done = subprocess.run([PROGRAM, "hub", "download", "me/one"], env=env, capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert cache.run("verify") == "2 files are what the Hub promised\n"
    (folder / "a.txt").write_bytes(b"Small"), (folder / "b.safetensors").write_bytes(b"Large")
    text = cache.run("verify", code=1)
    assert "a.txt: git's sha1 " in text and "b.safetensors: sha256 " in text
    next(cache.hub.glob("*/trees/*")).unlink()
    assert "of 2 files that is not known" in cache.run("verify")


# At the same time


def nothing_is_half(cache):
    """No link leads nowhere, no branch means what is not there, no blob is wrong."""
    for link in cache.hub.glob("*/snapshots/**/*"):
        assert not link.is_symlink() or link.exists(), f"{link} leads nowhere"
    for ref in cache.hub.glob("*/refs/**/*"):
        repo = cache.hub / ref.relative_to(cache.hub).parts[0]
        assert ref.is_dir() or (repo / "snapshots" / ref.read_text()).is_dir(), f"{ref} means nothing"
    cache.run("verify")


def test_killed_at_any_moment_what_is_left_is_whole(tmp_path):
    files = {f"{number % 7}/{number}.txt": b"%d" % (number // 2) for number in range(3000)}
    random.seed(0)
    killed = 0
    for attempt in range(8):
        cache = Cache(tmp_path / str(attempt))
        cache.add("model/me/one", OLD, files, ["v1"])
        cache.add("model/me/one", NEW, {path: data for path, data in files.items() if len(data) < 4} | {"new.txt": b"new"}, ["main"])
        target = ["model/me/one", OLD][attempt % 2]
        env = {**os.environ, "HF_HOME": str(cache.home)}
        removal = subprocess.Popen([PROGRAM, "hub", "cache", "rm", "--yes", target], env=env, stdout=subprocess.DEVNULL)
        time.sleep(random.uniform(0.02, 0.25))
        removal.kill()
        killed += removal.wait() != 0
        nothing_is_half(cache)
        if target == OLD:
            assert any(r["refs"] == ["main"] for r in cache.listed("--revisions"))
        cache.run("prune", "--yes")
        nothing_is_half(cache)
        used = {os.path.realpath(link) for link in cache.hub.glob("*/snapshots/**/*") if link.is_symlink()}
        assert used == {str(blob.resolve()) for blob in cache.hub.glob("*/blobs/*")}
    assert killed >= 3


def test_downloads_and_removals_at_once(tmp_path):
    files = {f"{number}.txt": b"text %d" % number for number in range(12)} | {"x.safetensors": b"x" * 200_000}
    with HubServer(tmp_path / "hub") as hub:
        old = hub.put_repo("me/one", files)
        hub.put_repo("me/one", {"0.txt": b"new"})
        cache = Cache(tmp_path / "home")
        env = hub.environment(cache.home)
        stop = time.monotonic() + 4
        removed = 0
        with concurrent.futures.ThreadPoolExecutor() as pool:

            def fetch(revision):
                while time.monotonic() < stop:
                    subprocess.run([PROGRAM, "hub", "download", "me/one", f"--revision={revision}"], env=env, capture_output=True, timeout=60)

            downloads = [pool.submit(fetch, revision) for revision in ("main", old)]
            while time.monotonic() < stop:
                time.sleep(random.uniform(0, 0.1))
                words = random.choice([["rm", "--yes", old], ["prune", "--yes"], ["rm", "--yes", "model/me/one"]])
                removed += subprocess.run([PROGRAM, "hub", "cache", *words], env=env, capture_output=True, timeout=60).returncode == 0
            for download in downloads:
                download.result()
        assert removed > 5
        for link in cache.hub.glob("*/snapshots/**/*"):
            assert not link.is_symlink() or link.exists(), f"{link} leads nowhere"
        for revision in ("main", old):
            folder = Path(subprocess.run([PROGRAM, "hub", "download", "me/one", f"--revision={revision}"], env=env, capture_output=True, text=True,
                                         check=True, timeout=60).stdout.strip())  # fmt: skip
            assert {p.name: p.read_bytes() for p in folder.iterdir()}.keys() >= files.keys()
        nothing_is_half(cache)

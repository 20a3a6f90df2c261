"""Models in the Hugging Face cache: huggingface_hub's own reader and ours agree on what is there."""

import os
import shutil
import subprocess
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import scan_cache_dir, try_to_load_from_cache

PROGRAM = os.environ.get("LORIKEET_PROGRAM", "build/lorikeet")
BASE = Path("models/lorikeet-base")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "someone/lorikeet-base"


@pytest.fixture
def cache(tmp_path):
    """The base model in a cache, laid out as a download leaves it: blobs, and a snapshot of relative links to them."""
    hub = tmp_path / "hub"
    repository = hub / ("models--" + REPOSITORY.replace("/", "--"))
    for number, source in enumerate(sorted(path for path in BASE.rglob("*") if path.is_file())):
        blob = repository / "blobs" / f"{number:040x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, blob)
        link = repository / "snapshots" / COMMIT / source.relative_to(BASE)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return hub


def generate(output, model, env, *flags):
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_", "XDG_"))}
    return subprocess.run(
        [PROGRAM, "generate", f"--pretrained_model_name_or_path={model}", "--prompt=panda", "--num_inference_steps=1",
         "--seed=0", "--device=cpu", f"--output={output}", *flags],
        capture_output=True, text=True, timeout=120, env={**cleared, "HF_HUB_OFFLINE": "1", **env})


def test_the_cache_is_one_that_huggingface_hub_understands(cache):
    found = try_to_load_from_cache(REPOSITORY, "unet/config.json", cache_dir=cache)
    assert found == str(cache / "models--someone--lorikeet-base/snapshots" / COMMIT / "unet/config.json")
    assert [repository.repo_id for repository in scan_cache_dir(cache).repos] == [REPOSITORY]


@pytest.mark.parametrize("variables", [
    lambda hub: {"HF_HUB_CACHE": str(hub)},
    lambda hub: {"HUGGINGFACE_HUB_CACHE": str(hub)},
    lambda hub: {"HF_HOME": str(hub.parent)},
    lambda hub: {"HF_HOME": "$CACHE_PARENT", "CACHE_PARENT": str(hub.parent)},
], ids=["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "a variable in it"])
def test_a_cached_id_draws_what_its_folder_draws(cache, variables, tmp_path):
    folder = generate(tmp_path / "folder.png", BASE, {})
    cached = generate(tmp_path / "cached.png", REPOSITORY, variables(cache))
    assert folder.returncode == cached.returncode == 0, cached.stderr
    assert (tmp_path / "folder.png").read_bytes() == (tmp_path / "cached.png").read_bytes()


def test_xdg_and_home_are_looked_in_too(cache, tmp_path):
    for name, folder in [("XDG_CACHE_HOME", tmp_path / "xdg"), ("HOME", tmp_path / "home/.cache")]:
        (folder / "huggingface").mkdir(parents=True)
        (folder / "huggingface/hub").symlink_to(cache)
        where = folder if name == "XDG_CACHE_HOME" else folder.parent
        done = generate(tmp_path / f"{name}.png", REPOSITORY, {name: str(where)})
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("revision", ["main", COMMIT, "v1.0"])
def test_revisions_by_branch_commit_and_tag(cache, revision, tmp_path):
    repository = cache / "models--someone--lorikeet-base"
    if revision == "v1.0":
        (repository / "refs/v1.0").write_text(COMMIT)
    expected = huggingface_hub.hf_hub_download(REPOSITORY, "model_index.json", revision=revision, cache_dir=cache,
                                               local_files_only=True)
    assert COMMIT in expected
    done = generate(tmp_path / "p.png", REPOSITORY, {"HF_HUB_CACHE": str(cache)}, f"--revision={revision}")
    assert done.returncode == 0, done.stderr


def test_what_is_not_there_is_named(cache, tmp_path):
    env = {"HF_HUB_CACHE": str(cache)}
    unknown = generate(tmp_path / "p.png", REPOSITORY, env, "--revision=v2")
    assert unknown.returncode == 1 and "revision v2" in unknown.stderr and "--revision v2" in unknown.stderr
    (cache / "models--someone--lorikeet-base/snapshots" / COMMIT / "vae/config.json").unlink()
    partly = generate(tmp_path / "p.png", REPOSITORY, env)
    assert partly.returncode == 1 and "vae/config.json missing" in partly.stderr
    assert not (tmp_path / "p.png").exists()

"""The official client passes the loopback hub: what the hub tests say about Lorikeet rests on that."""

import http.client
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer

FLAVOURS = {
    "huggingface.co": {},
    "all files elsewhere": {"redirects": "all", "part_size": 100_000, "page_size": 3},
    "everything in one place": {"redirects": "none", "resolve_cache": True, "verify": False, "tells_oids": False},
}


def python(hub, home, code, *arguments, token="hf_tester", code_expected=0):
    """Runs the official client in a process of its own; what it printed."""
    prelude = "import sys, json, pathlib\nfrom huggingface_hub import *\napi = HfApi()\n"
    done = subprocess.run([sys.executable, "-c", prelude + code, *map(str, arguments)], env=hub.environment(home, token),
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == code_expected, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.fixture(params=FLAVOURS)
def hub(request, tmp_path):
    with HubServer(tmp_path / "hub", **FLAVOURS[request.param]) as hub:
        yield hub
    assert not hub.leaks


@pytest.fixture
def folder(tmp_path):
    """What a training leaves: a card, a LoRA, a picture, a checkpoint, and a large and an empty file."""
    files = {
        "README.md": b"---\nbase_model: a/b\nlibrary_name: diffusers\ntags:\n- lora\n---\n# hi\n",
        "pytorch_lora_weights.safetensors": os.urandom(250_000),
        "big.bin": os.urandom(330_001),
        "image_0.png": os.urandom(2_000),
        "empty.txt": b"",
        "checkpoint-10/x.json": b"{}",
        "spa ce/\u00e4 + 100%.txt": b"a name to quote",
    }
    for path, data in files.items():
        (tmp_path / "output" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "output" / path).write_bytes(data)
    return tmp_path / "output", files


def test_a_folder_goes_up_and_comes_down(hub, folder, tmp_path):
    code = """
print(api.create_repo("tester/lora", exist_ok=True).repo_id, api.create_repo("tester/lora", exist_ok=True).repo_id)
api.upload_folder(repo_id="tester/lora", folder_path=sys.argv[1], commit_message="End of training")
print(snapshot_download("tester/lora"))
"""
    path = Path(python(hub, tmp_path / "home", code, folder[0]).splitlines()[-1])
    assert {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()} == hub.files("tester/lora")
    assert folder[1].items() <= hub.files("tester/lora").items()
    assert path.name == hub.repo("tester/lora").resolve("main")


def test_git_itself_reads_the_repositories(hub, folder, tmp_path):
    hub.put_repo("tester/lora", folder[1])
    repository = hub.folder / "models/tester/lora.git"
    checked = subprocess.run(["git", "-c", f"safe.directory={repository}", "fsck", "--strict"], cwd=repository,
                             capture_output=True, text=True)  # fmt: skip
    assert checked.returncode == 0 and not checked.stderr, checked.stderr


def test_what_is_asked_about_a_repository(hub, folder, tmp_path):
    commit = hub.put_repo("tester/lora", folder[1])
    hub.put_repo("tester/lora", {"old.txt": b"old"}, revision="v1/x")
    code = """
info = api.model_info("tester/lora", files_metadata=True)
tree = [item.path for item in api.list_repo_tree("tester/lora", recursive=True)]
top = [item.path for item in api.list_repo_tree("tester/lora")]
paths = api.get_paths_info("tester/lora", ["big.bin", "none"])
refs = {ref.name: ref.target_commit for ref in api.list_repo_refs("tester/lora").branches}
print(json.dumps([info.sha, {s.rfilename: s.size for s in info.siblings}, tree, top, paths[0].lfs.sha256, refs,
                  [c.title for c in api.list_repo_commits("tester/lora")], api.model_info("tester/lora", revision="v1/x").sha]))
"""
    sha, sizes, tree, top, oid, refs, titles, old = json.loads(python(hub, tmp_path / "home", code))
    files = hub.files("tester/lora")
    assert sha == commit and sizes == {path: len(data) for path, data in files.items()}
    assert set(tree) == set(files) | {"checkpoint-10", "spa ce"}
    assert set(top) == {path.split("/")[0] for path in files}
    assert oid == hub.repo("tester/lora").describe(hub.repo("tester/lora").blobs(commit)["big.bin"])["lfs"]["oid"]
    assert refs == {"main": commit, "v1/x": old} and titles == ["files", "initial commit"]


@pytest.mark.parametrize("call, error", [
    ("hf_hub_download('tester/lora', 'nope.txt')", "RemoteEntryNotFoundError"),
    ("hf_hub_download('tester/lora', 'a.txt', revision='nope')", "RevisionNotFoundError"),
    ("hf_hub_download('tester/nope', 'a.txt')", "RepositoryNotFoundError"),
    ("hf_hub_download('other/secret', 'a.txt')", "RepositoryNotFoundError"),
    ("hf_hub_download('other/gated', 'a.txt')", "GatedRepoError"),
    ("api.create_repo('other/mine')", "HfHubHTTPError"),
    ("api.create_repo('tester/lora')", "HfHubHTTPError"),
    ("api.upload_file(path_or_fileobj=b'', path_in_repo='x', repo_id='other/gated')", "HfHubHTTPError"),
    ("whoami('hf_wrong')", "HfHubHTTPError"),
])  # fmt: skip
def test_refusals(tmp_path, call, error):
    with HubServer(tmp_path / "hub") as hub:
        hub.put_repo("tester/lora", {"a.txt": b"a"})
        hub.put_repo("other/secret", {"a.txt": b"a"}, private=True)
        hub.put_repo("other/gated", {"a.txt": b"a"}, gated="auto")
        code = f"try: {call}\nexcept Exception as e: print(type(e).__name__)"
        assert python(hub, tmp_path / "home", code) == error


def test_who_may_see_what_is_private_or_gated(tmp_path):
    with HubServer(tmp_path / "hub") as hub:
        hub.put_repo("other/secret", {"w.safetensors": b"a" * 99}, private=True)
        hub.put_repo("other/gated", {"a.txt": b"a"}, gated="auto")
        hub.settings["model", "other/gated"]["access"].add("tester")
        python(hub, tmp_path / "1", "hf_hub_download('other/secret', 'w.safetensors')", token="hf_other")
        python(hub, tmp_path / "2", "hf_hub_download('other/gated', 'a.txt')")
        assert not hub.leaks and [r.host for r in hub.requests if "/lfs/" in r.path] == ["storage"]


def test_a_commit_on_top_of_another_and_a_pull_request(tmp_path):
    with HubServer(tmp_path / "hub") as hub:
        first = hub.put_repo("other/model", {"a.txt": b"a"})
        code = """
add = [CommitOperationAdd("b.txt", b"b"), CommitOperationDelete("a.txt")]
print(api.create_commit("other/model", add, commit_message="pull", create_pr=True).pr_url)
"""
        assert python(hub, tmp_path / "home", code) == f"{hub.url}/other/model/discussions/1"
        assert hub.repo("other/model").resolve("main") == first and "b.txt" in hub.files("other/model", revision="refs/pr/1")
        code = "api.create_commit('other/model', [CommitOperationAdd('c', b'c')], commit_message='c', parent_commit='1' * 40)"
        stale = f"try: {code}\nexcept Exception as e: print(e.response.status_code)"
        assert python(hub, tmp_path / "home", stale, token="hf_other") == "412"


def test_login_in_the_browser_flow_and_refreshing(tmp_path):
    home = tmp_path / "home"
    with HubServer(tmp_path / "hub") as hub:
        hub.device_answers = ["authorization_pending", "authorization_pending"]
        shown = python(hub, home, "login(skip_if_logged_in=False)", token=None)
        assert "CODE-0001" in shown and (home / "token").read_text() == "hf_oauth_1"
        assert [r.path for r in hub.requests] == ["/oauth/device", *3 * ["/oauth/token"], "/api/whoami-v2"]
        stored = home / "stored_tokens"
        stored.write_text(stored.read_text().replace("expires_at = ", "expires_at = 1 #").split(" #")[0] + "\n")
        assert python(hub, home, "print(get_token())", token=None) == "hf_oauth_2"
        assert set(hub.refresh_tokens) == {"refresh_2"}


@pytest.mark.parametrize("fault, outcome", [
    ({"status": 503}, "right"),
    ({"status": 429, "headers": {"Retry-After": "1"}}, "right"),
    ({"refuse": True}, "error"),
    ({"lose": True}, "error"),
    ({"cut": 100, "method": "GET"}, "right"),
    ({"chunked": True, "method": "GET"}, "right"),
    ({"gzip": True, "method": "GET"}, "right"),
    ({"delay": 0.1, "pace": 0.001}, "right"),
    ({"status": 418}, "error"),
    ({"wrong": True, "method": "GET"}, "wrong"),  # it checks sizes only
], ids=lambda value: str(value))  # fmt: skip
def test_faults_happen_as_told(tmp_path, fault, outcome):
    with HubServer(tmp_path / "hub") as hub:
        data = b"words " * 1000
        hub.put_repo("tester/lora", {"a.txt": data})
        hub.fail(path="/resolve/", **fault)
        code = """
try: print(pathlib.Path(hf_hub_download("tester/lora", "a.txt")).read_bytes() == b"words " * 1000)
except Exception as e: print("error")
"""
        assert python(hub, tmp_path / "home", code) == {"right": "True", "wrong": "False", "error": "error"}[outcome]
        assert hub.faults[0].times == 0


def test_the_nth_request_fails(tmp_path):
    with HubServer(tmp_path / "hub") as hub:
        hub.put_repo("tester/lora", {"a.txt": b"a"})
        hub.fail(number=2, status=500)
        for _ in range(4):
            python(hub, tmp_path / "home", "try: api.whoami()\nexcept Exception: pass")
        assert [r.status for r in hub.requests] == [200, 200, 500, 200]


def test_equal_pushes_give_equal_commits_and_transcripts(tmp_path, folder):
    results = []
    for name in ("one", "two"):
        with HubServer(tmp_path / name) as hub:
            code = "api.create_repo('tester/lora'); api.upload_folder(repo_id='tester/lora', folder_path=sys.argv[1])"
            python(hub, tmp_path / f"home {name}", code, folder[0])
            results.append((hub.state(), sorted(map(json.dumps, hub.transcript()))))
    assert results[0] == results[1]


def recorded(section):
    """[(method and address, status)] of tests/data/hub_sequences.txt."""
    text = (Path(__file__).parent / "data/hub_sequences.txt").read_text()
    lines = text.split(f"[{section}]\n")[1].split("\n\n")[0].splitlines()
    return [tuple(line.rsplit(" ", 1)) for line in lines]


def in_no_order(lines):
    """Uploads and a snapshot's files come from threads: those are sorted."""
    start = next(i for i, line in enumerate(lines) if "/tree/COMMIT?" in line) + 1
    threaded = [i for i, line in enumerate(lines) if line in ("PUT /OBJECT", "POST /VERIFY")]
    for i, line in zip(threaded, sorted(lines[i] for i in threaded)):
        lines[i] = line
    return lines[:start] + sorted(lines[start:])


HUBS = {
    "git-backed": {"redirects": "none", "tells_oids": False, "error_codes": False},
    "object-store": {"redirects": "all", "head_redirects": False, "tells_oids": False, "part_size": 200_000,
                     "gitattributes": False},
}  # fmt: skip


@pytest.mark.parametrize("name", HUBS)
def test_the_recorded_requests_of_a_model_s_life(tmp_path, name):
    """What the official client asked other hubs, it asks this one."""
    code = """
import os
import re
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
def refused(call, *arguments, **more):
    try: call(*arguments, **more)
    except (HfHubHTTPError, LocalEntryNotFoundError): return
    raise AssertionError(arguments)
id, folder = "tester/rec-lora", pathlib.Path(sys.argv[1])
files = {"README.md": b"---\\ntags:\\n- lora\\n---\\n# hi\\n", "big.bin": bytes(300000), "checkpoint-10/x.json": b"{}", "empty.txt": b"",
         "image_0.png": bytes(99), "pytorch_lora_weights.safetensors": bytes(1000), "epoch_1/x": b"", "step_2/x": b""}
for path, data in files.items():
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data)
api.whoami()
api.create_repo(id, private=False)
api.create_repo(id, exist_ok=True)
api.upload_file(path_or_fileobj=b"hello", path_in_repo="a.txt", repo_id=id)
for message in ("End of training", None):
    api.upload_folder(repo_id=id, folder_path=folder, commit_message=message, ignore_patterns=["step_*", "epoch_*"])
api.repo_info(id)
from huggingface_hub.utils import get_session, build_hf_headers
get_session().get(f"{api.endpoint}/api/models/{id}/revision/main?blobs=true", headers=build_hf_headers())
list(api.list_repo_tree(id, recursive=True)), api.get_paths_info(id, "README.md")
api.list_repo_refs(id), api.list_repo_commits(id)
for file in ("pytorch_lora_weights.safetensors", "README.md", "big.bin"):
    hf_hub_download(id, file)
refused(hf_hub_download, id, "nope.txt")
refused(hf_hub_download, id, "a.txt", revision="nope")
refused(hf_hub_download, "nobody/nothing", "a.txt")
refused(api.whoami, token="hf_wrong")
snapshot_download(id)
"""
    with HubServer(tmp_path / "hub", **HUBS[name]) as hub:
        python(hub, tmp_path / "home", code, tmp_path / "folder")
        lines = []
        for request in hub.requests:
            line = re.sub("[0-9a-f]{40}", "COMMIT", request.line.replace("%20", " "))
            if name == "git-backed":  # its storage is at the hub's own address
                line = re.sub("^PUT /upload/.*", "PUT /OBJECT", line.replace("/lfs/verify/model/tester/rec-lora", "/VERIFY"))
                lines.append(line)
            elif request.host == "hub" and not request.path.startswith("/lfs/"):
                lines.append(line)
        assert in_no_order(lines) == in_no_order([line for line, _ in recorded(name)])


def test_the_recorded_requests_of_load_dataset(tmp_path):
    """Asked in the recorded order, each gets the recorded status."""
    png, ids = {f"train/{i}.png": b"png" for i in range(4)}, ("tester/pokemon-mini", "tester/imgf")
    with HubServer(tmp_path / "hub", redirects="all", head_redirects=False, gitattributes=False) as hub:
        commits = {
            ids[0]: hub.put_repo(ids[0], {"README.md": b"", "data/train-00000-of-00001.parquet": b"PAR1"}, "dataset"),
            ids[1]: hub.put_repo(ids[1], png | {"train/metadata.jsonl": b"{}"}, "dataset"),
        }
        lines = recorded("object-store datasets")
        connection = http.client.HTTPConnection(hub.url.removeprefix("http://"))
        for line, status in lines[lines.index(("HEAD /datasets/tester/pokemon-mini/resolve/main/README.md", "200")) :]:
            method, path = line.split(" ", 1)
            commit = commits[next(id for id in ids if id in path)]
            connection.request(method, path.replace("COMMIT", commit), headers={"authorization": "Bearer hf_tester"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == int(status), line

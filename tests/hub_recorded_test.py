"""Lorikeet asks a Hub what huggingface_hub was recorded asking two others: the same requests, in the same order."""

import os
import re
import subprocess

import pytest
from hub_server import HubServer
from hub_server_test import HUBS, in_no_order, recorded

PROGRAM = os.environ.get("LORIKEET_BUILD_DIR", "build") + "/hub_program"
ID = "tester/rec-lora"
FILES = {
    "README.md": b"---\ntags:\n- lora\n---\n# hi\n",
    "big.bin": bytes(300000),
    "checkpoint-10/x.json": b"{}",
    "empty.txt": b"",
    "image_0.png": bytes(99),
    "pytorch_lora_weights.safetensors": bytes(1000),
}
# What the recorded script asked that no command of ours needs: more about the repository than a download or a push does.
ASIDE = [f"GET /api/models/{ID}", f"GET /api/models/{ID}/revision/main?blobs=true", f"GET /api/models/{ID}/tree/main?recursive=true&expand=false",
         f"POST /api/models/{ID}/paths-info/main", f"GET /api/models/{ID}/refs", f"GET /api/models/{ID}/commits/main"]  # fmt: skip


def expected(name):
    """The recorded requests, as commands of ours ask them."""
    lines = [line for line, _ in recorded(name) if line not in ASIDE]
    found = []
    for line in lines:
        if line == "POST /api/validate-yaml" and found[-1] == line:
            continue  # upload_folder has a card looked at, and then create_commit has it, too
        found.append(line)
    creates = [i for i, line in enumerate(found) if line == "POST /api/repos/create"]
    assert len(creates) == 2
    # `hub upload` makes sure of its repository each time, and asks for nothing else; the script did it twice at the start.
    del found[creates[1]]
    for place in [i for i, line in enumerate(found) if line == "POST /api/validate-yaml"][::-1]:
        found.insert(place, "POST /api/repos/create")
    return found


@pytest.mark.parametrize("name", HUBS)
def test_the_recorded_life_of_a_model(tmp_path, name):
    folder = tmp_path / "folder"
    for path, data in {**FILES, "epoch_1/x": b"", "step_2/x": b""}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (tmp_path / "a.txt").write_bytes(b"hello")

    with HubServer(tmp_path / "hub", **HUBS[name]) as hub:

        def run(*words, code=0, token="hf_tester", home="home"):
            env = hub.environment(tmp_path / home, token) | {"LORIKEET_HUB_BACKOFF": "0.01"}
            done = subprocess.run([PROGRAM, *map(str, words)], env=env, capture_output=True, text=True, timeout=60)
            assert done.returncode == code, done.stderr

        run("auth", "whoami")
        run("hub", "upload", ID, tmp_path / "a.txt")
        for _ in range(2):
            run("hub", "upload", ID, folder, "--exclude", "step_*", "epoch_*")
        for file in ("pytorch_lora_weights.safetensors", "README.md", "big.bin"):
            run("hub", "download", ID, file)
        run("hub", "download", ID, "nope.txt", code=1)
        run("hub", "download", ID, "a.txt", "--revision=nope", code=1)
        run("hub", "download", "nobody/nothing", "a.txt", code=1)
        run("auth", "whoami", token="hf_wrong", code=1)
        run("hub", "download", ID)

        lines = []
        for request in hub.requests:
            line = re.sub("[0-9a-f]{40}", "COMMIT", request.line.replace("%20", " "))
            if name == "git-backed":
                lines.append(re.sub("^PUT /upload/.*", "PUT /OBJECT", line.replace(f"/lfs/verify/model/{ID}", "/VERIFY")))
            elif request.host == "hub" and not request.path.startswith("/lfs/"):
                lines.append(line)
    assert in_no_order(lines) == in_no_order(expected(name))

"""`generate --textual_inversion=owner/name`: learned words by the name of their repository."""

import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hub_server import HubServer
from safetensors.numpy import load_file, save

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
BASE = ROOT / "models/lorikeet-base"


def vector(word):
    number = json.loads((BASE / "tokenizer/vocab.json").read_text())[word + "</w>"]
    tensors = load_file(BASE / "text_encoder/model.safetensors")
    return next(t for key, t in tensors.items() if key.endswith("token_embedding.weight"))[number].astype(np.float32)


def torch_file(values):
    """As torch.save writes {"<cat>": values}: the file that Diffusers' script wrote, with other numbers in it."""
    made = io.BytesIO()
    with zipfile.ZipFile(ROOT / "tests/data/lora/learned_embeds.bin") as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                assert data.count(b"K\x06t") == data.count(b"K\x06\x85") == 1 and len(values) < 256
                data = data.replace(b"K\x06", b"K" + bytes([len(values)]))
            new.writestr(name, values.tobytes() if name.endswith("data/0") else data)
    return made.getvalue()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    apple = save({"<cat>": vector("apple")})
    with HubServer(tmp_path_factory.mktemp("hub")) as hub:
        hub.put_repo("tester/both", {"learned_embeds.safetensors": apple, "learned_embeds.bin": torch_file(vector("red"))})
        hub.put_repo("tester/bin", {"learned_embeds.bin": torch_file(vector("apple")), "other.bin": b"x", "README.md": b"# <cat>"})
        hub.put_repo("tester/one", {"cat.pt": torch_file(vector("apple")), "sub/cat.safetensors": apple})
        hub.put_repo("tester/two", {"a.pt": b"x", "b.bin": b"x"})
        hub.put_repo("tester/none", {"README.md": b"#"})
        yield hub
    assert not hub.leaks


def draw(hub, home, output, *flags, prompt="<cat>", code=0, **variables):
    env = {**hub.environment(home), "LORIKEET_HUB_BACKOFF": "0.01", **variables}
    words = [f"--pretrained_model_name_or_path={BASE}", f"--prompt={prompt}", "--num_inference_steps=1", "--height=32", "--width=32",
             "--seed=0", "--device=cpu", f"--output={output}"]  # fmt: skip
    done = subprocess.run([PROGRAM, "generate", *words, *flags], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == code, done.stderr
    return output.read_bytes() if code == 0 else done.stderr


def test_a_repository_is_its_file(hub, tmp_path):
    home, output = tmp_path / "home", tmp_path / "p.png"
    apple = draw(hub, home, output, prompt="apple")
    assert apple != draw(hub, home, output)
    for name in ("tester/both", "tester/bin", "tester/one", "tester/one/sub/cat.safetensors", "tester/bin/learned_embeds.bin"):
        assert draw(hub, home, output, f"--textual_inversion={name}") == apple, name
    for variables in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        assert draw(hub, home, output, "--textual_inversion=tester/bin", **variables) == apple
    assert not list(home.rglob("snapshots/*/README.md"))


def test_people_are_told_what_is_wrong(hub, tmp_path):
    def said(name, **variables):
        return draw(hub, tmp_path / "home", tmp_path / "p.png", f"--textual_inversion={name}", code=1, **variables)

    several = said("tester/two")
    assert "no learned_embeds.safetensors, and several others: a.pt, b.bin" in several and "name one: tester/two/a.pt" in several
    assert "A repository of learned words was expected" in said("tester/none")
    assert '"tester/gone" is no path here, and there is no model tester/gone' in said("tester/gone")
    assert "has no file x.pt" in said("tester/one/x.pt")
    assert "HF_HUB_OFFLINE is set" in said("tester/one", HF_HUB_OFFLINE="1")
    assert "./gone.pt" in said("./gone.pt") and "gone.pt" in said("gone.pt")

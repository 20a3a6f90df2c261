"""Models and LoRA files by their names on the Hub: what a command names and the cache lacks is downloaded, once."""

import os
import subprocess
from pathlib import Path

import pytest
from hub_server import HubServer

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
BASE = ROOT / "models/lorikeet-base"
LORA = ROOT / "tests/data/generate/lora.safetensors"
MODEL = "someone/tiny-sd"
NEEDED = {"model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
          "tokenizer/merges.txt", "tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json",
          "tokenizer/vocab.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
          "vae/diffusion_pytorch_model.safetensors"}  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with HubServer(tmp_path_factory.mktemp("hub")) as hub:
        hub.put_repo(MODEL, BASE)
        hub.put_repo(MODEL, {"unet/diffusion_pytorch_model.bin": b"pickle", "safety_checker/model.safetensors": b"large"})
        hub.put_repo("tester/lora", {"pytorch_lora_weights.safetensors": LORA.read_bytes(), "other.safetensors": b"x"})
        hub.put_repo("tester/one", {"sub/deep.safetensors": LORA.read_bytes(), "only.safetensors": LORA.read_bytes()})
        hub.put_repo("tester/two", {"a.safetensors": b"x", "b.safetensors": b"x"}, private=True)
        yield hub


@pytest.fixture(autouse=True)
def no_token_elsewhere(hub):
    yield
    hub.faults.clear()
    assert not hub.leaks


def run(hub, home, *words, code=0, **variables):
    env = {**hub.environment(home), "LORIKEET_HUB_BACKOFF": "0.01", **variables}
    done = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def draw(hub, home, output, *flags, model=MODEL, **how):
    run(hub, home, "generate", f"--pretrained_model_name_or_path={model}", "--prompt=red apple", "--num_inference_steps=1",
        "--height=32", "--width=32", "--seed=0", "--device=cpu", f"--output={output}", *flags, **how)  # fmt: skip
    return output.read_bytes()


def failure(hub, home, tmp_path, *flags, **how):
    output = tmp_path / "failed.png"
    said = run(hub, home, "generate", "--prompt=x", "--device=cpu", f"--output={output}", *flags, code=1, **how)
    assert said.count("lorikeet: error: ") == 1 and not output.exists()
    return said


def test_a_model_by_name_draws_what_its_folder_draws_and_comes_once(hub, tmp_path):
    start = len(hub.requests)
    by_name = draw(hub, tmp_path / "home", tmp_path / "a.png")
    assert by_name == draw(hub, tmp_path / "home", tmp_path / "b.png", model=BASE)
    fetched = {r.path.split(f"/{hub.repo(MODEL).resolve('main')}/")[-1] for r in hub.requests[start:] if "/resolve/" in r.path}
    assert fetched == NEEDED
    asked = len(hub.requests)
    assert by_name == draw(hub, tmp_path / "home", tmp_path / "c.png")
    assert by_name == draw(hub, tmp_path / "home", tmp_path / "d.png", HF_HUB_OFFLINE="1")
    assert len(hub.requests) == asked


def test_what_is_missing_of_a_cached_model_is_added(hub, tmp_path):
    by_name = draw(hub, tmp_path / "home", tmp_path / "a.png")
    snapshot, = (tmp_path / "home/hub/models--someone--tiny-sd/snapshots").iterdir()
    (snapshot / "vae/config.json").resolve().unlink()
    (snapshot / "unet/diffusion_pytorch_model.safetensors").unlink()
    start = len(hub.requests)
    assert by_name == draw(hub, tmp_path / "home", tmp_path / "b.png")
    gets = [r.path for r in hub.requests[start:] if r.method == "GET" and ("/resolve/" in r.path or r.host == "storage")]
    assert len(gets) == 1 and gets[0].endswith("vae/config.json")  # the blob of the other is there
    lost = failure(hub, tmp_path / "none", tmp_path, f"--pretrained_model_name_or_path={MODEL}", HF_HUB_OFFLINE="1")
    assert "is no folder here" in lost and f"lorikeet hub download {MODEL}" in lost


def test_a_lora_by_name_is_its_file(hub, tmp_path):
    home = tmp_path / "home"
    local = draw(hub, home, tmp_path / "local.png", f"--lora={LORA}:0.5", model=BASE)
    assert local != draw(hub, home, tmp_path / "plain.png", model=BASE)
    for name in ("tester/lora", "tester/one", "tester/one/sub/deep.safetensors", "tester/lora/pytorch_lora_weights.safetensors"):
        assert local == draw(hub, home, tmp_path / "named.png", f"--lora={name}:0.5", model=BASE), name
    for variables in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        assert local == draw(hub, home, tmp_path / "named.png", "--lora=tester/lora:0.5", model=BASE, **variables)
    assert "Dialect" in run(hub, home, "lora", "inspect", "tester/lora")


def test_a_branch_of_a_model(hub, tmp_path):
    hub.put_repo(MODEL, {"scheduler/scheduler_config.json": b"{}"}, revision="broken")
    asked = f"--pretrained_model_name_or_path={MODEL}"
    assert "Choose a scheduler" in failure(hub, tmp_path / "home", tmp_path, asked, "--revision=broken")
    assert 'no revision "v7"' in failure(hub, tmp_path / "home", tmp_path, asked, "--revision=v7")
    lacks = failure(hub, tmp_path / "home", tmp_path, asked, "--variant=fp16")
    assert "lacks unet/diffusion_pytorch_model.fp16.safetensors" in lacks and "leave out the variant" in lacks


def test_people_are_told_what_is_wrong_with_a_name(hub, tmp_path):
    home = tmp_path / "home"
    absent = failure(hub, home, tmp_path, "--pretrained_model_name_or_path=models/lorikeet-bse")
    assert '"models/lorikeet-bse" is no path here, and there is no model' in absent
    nobody = failure(hub, home, tmp_path, f"--pretrained_model_name_or_path={MODEL}", HF_ENDPOINT="http://127.0.0.1:9")
    assert "is no path here, and the Hub cannot be reached" in nobody
    other = failure(hub, home, tmp_path, "--pretrained_model_name_or_path=tester/lora")
    assert "holds no Stable Diffusion model" in other and "--lora" in other
    base = f"--pretrained_model_name_or_path={BASE}"
    assert "there is no model tester/none" in failure(hub, home, tmp_path, base, "--lora=tester/none")
    several = failure(hub, home, tmp_path, base, "--lora=tester/two")
    assert "several others: a.safetensors, b.safetensors" in several and "name one: tester/two/a.safetensors" in several
    assert "no other .safetensors file" not in several
    assert "has no file none.safetensors" in failure(hub, home, tmp_path, base, "--lora=tester/two/none.safetensors")
    assert "HF_HUB_OFFLINE" in failure(hub, home, tmp_path, base, "--lora=tester/two", HF_HUB_OFFLINE="1")
    assert "./none.safetensors" in failure(hub, home, tmp_path, base, "--lora=./none.safetensors")


def test_a_tokenizer_by_name(hub, tmp_path):
    hub.put_repo("tester/words", BASE / "tokenizer")
    flags = ["train", "dreambooth", f"--pretrained_model_name_or_path={BASE}", "--tokenizer_name=tester/words", "--dry_run",
             f"--instance_data_dir={ROOT}/examples/demo-subject", "--instance_prompt=x", "--device=cpu", "--resolution=64",
             f"--output_dir={tmp_path}/out"]  # fmt: skip
    run(hub, tmp_path / "home", *flags)
    start = len(hub.requests)
    run(hub, tmp_path / "home", *flags)
    assert len(hub.requests) == start
    said = run(hub, tmp_path / "none", *flags, code=1, HF_HUB_OFFLINE="1")
    assert 'the tokenizer "tester/words" is no folder here' in said

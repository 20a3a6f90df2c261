"""`lorikeet lora ...`: what the commands write, held against numpy; errors and exit codes."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
BASE = ROOT / "models/lorikeet-base"
LORA = ROOT / "tests/data/generate/lora.safetensors"
REAL = ROOT.parent / "shared/data/loras/cloneofsimo_analog_svd_rank4.safetensors"
CLOSE = 1e-6  # of the largest number, the agreed tolerance


def run(*words, code=0):
    done = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done


def changes(path):
    """The change of every weight of a plain LoRA, by an underscored path."""
    tensors = load_file(path)
    with safe_open(path, "np") as file:
        peft = json.loads((file.metadata() or {}).get("lora_adapter_metadata", "{}"))
    found = {}
    for key, down in tensors.items():
        for ending, other in [(".lora.down.weight", ".lora.up.weight"), (".lora_down.weight", ".lora_up.weight"),
                              (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
                              (".lora_A.weight", ".lora_B.weight")]:
            if not key.endswith(ending):
                continue
            layer = key[: -len(ending)]
            up = tensors[layer + other].astype(np.float64)
            down = down.astype(np.float64)
            model, _, layer_path = layer.partition(".")
            alpha = peft.get(f"{model}.alpha_pattern", {}).get(layer_path, peft.get(f"{model}.lora_alpha", len(down)))
            scale = float(tensors.get(layer + ".alpha", alpha)) / len(down)
            name = layer.replace("lora_unet_", "unet.").replace("lora_te_", "text_encoder.").replace(".", "_")
            found[name] = scale * up.reshape(len(up), -1) @ down.reshape(len(down), -1)
    return found


def assert_same(ours, expected, close=CLOSE):
    assert ours.keys() == expected.keys()
    for name, change in expected.items():
        assert np.abs(ours[name] - change).max() <= close * np.abs(change).max(), name


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A second LoRA for some of the same layers, with other ranks, in kohya's dialect with alphas."""
    path = tmp_path_factory.mktemp("lora") / "other.safetensors"
    random = np.random.default_rng(0)
    tensors = {}
    for key, down in load_file(LORA).items():
        if not key.endswith("lora.down.weight") or "up_blocks" in key:
            continue
        layer = "lora_unet_" + key.removeprefix("unet.").removesuffix(".lora.down.weight").replace(".", "_")
        out = load_file(LORA)[key.replace("down.weight", "up.weight")].shape[0]
        tensors[layer + ".lora_down.weight"] = random.standard_normal((3, down.shape[1])).astype(np.float32)
        tensors[layer + ".lora_up.weight"] = random.standard_normal((out, 3)).astype(np.float32)
        tensors[layer + ".alpha"] = np.array(1.5, np.float32)
    save_file(tensors, path)
    return path


def test_inspect_tells_layers_ranks_strength_and_norms(other, tmp_path):
    told = json.loads(run("lora", "inspect", other, "--json").stdout)
    assert told["dialect"] == "kohya"
    expected = changes(other)
    assert len(told["layers"]) == len(expected)
    for layer in told["layers"]:
        change = expected["unet_" + layer["path"].replace(".", "_")]
        assert (layer["rank"], layer["scale"], layer["kind"]) == (3, 0.5, "lora")
        assert layer["norm"] == pytest.approx(np.linalg.norm(change), rel=1e-5)
    text = run("lora", "inspect", other, "--layers").stdout
    assert "rank 3; effective scale 0.5" in text and "Without effect: nothing" in text


def test_inspect_tells_what_has_no_effect_in_a_model(other, tmp_path):
    tensors = load_file(other)
    tensors["lora_unet_down_blocks_7_attentions_0_proj_in.lora_down.weight"] = np.ones((1, 8), np.float32)
    tensors["lora_unet_down_blocks_7_attentions_0_proj_in.lora_up.weight"] = np.ones((8, 1), np.float32)
    tensors["what.is.this"] = np.ones(3, np.float32)
    save_file(tensors, tmp_path / "odd.safetensors")
    text = run("lora", "inspect", tmp_path / "odd.safetensors", "--pretrained_model_name_or_path", BASE).stdout
    assert "down_blocks.7.attentions.0.proj_in: no such layer" in text and "what.is.this" in text


@pytest.mark.parametrize("dialect", ["diffusers", "peft", "kohya"])
def test_convert_keeps_every_change(dialect, other, tmp_path):
    for source in (LORA, other):
        run("lora", "convert", source, tmp_path / "there.safetensors", f"--to={dialect}")
        assert_same(changes(tmp_path / "there.safetensors"), changes(source))
        run("lora", "convert", tmp_path / "there.safetensors", tmp_path / "back.safetensors", "--to=kohya")
        assert_same(changes(tmp_path / "back.safetensors"), changes(source))


@pytest.mark.skipif(not REAL.exists(), reason="the real LoRA is not part of the project")
@pytest.mark.parametrize("dialect", ["diffusers", "peft", "kohya"])
def test_the_real_file_is_read_in_full_and_survives_conversion(dialect, tmp_path):
    told = json.loads(run("lora", "inspect", REAL, "--json").stdout)
    assert {name: part["layers"] for name, part in told["models"].items()} == {"unet": 144, "text_encoder": 48}
    assert told["no_effect"] == [] and told["base"] == "Stable Diffusion 1.x"
    run("lora", "convert", REAL, tmp_path / "there.safetensors", f"--to={dialect}")
    difference = json.loads(run("lora", "diff", REAL, tmp_path / "there.safetensors", "--json").stdout)
    assert len(difference["layers"]) == 192 and difference["only_in_a"] == difference["only_in_b"] == []
    assert max(layer["distance"] for layer in difference["layers"]) <= CLOSE


def test_merge_is_the_weighted_sum_in_any_order(other, tmp_path):
    first, second = changes(LORA), changes(other)
    expected = {name: 0.7 * change - 0.4 * second.get(name, np.zeros(1)) for name, change in first.items()}
    run("lora", "merge", f"{LORA}:0.7", f"{other}:-0.4", "-o", tmp_path / "ab.safetensors")
    run("lora", "merge", f"{other}:-0.4", f"{LORA}:0.7", "-o", tmp_path / "ba.safetensors")
    for name in ("ab", "ba"):
        assert_same(changes(tmp_path / f"{name}.safetensors"), expected)
    run("lora", "merge", f"{LORA}:0.7", f"{other}:-0.4", "--method=svd", "--rank=5", "-o", tmp_path / "svd.safetensors")
    assert_same(changes(tmp_path / "svd.safetensors"), expected, close=1e-5)  # ranks 2 and 3: nothing is lost


def test_resize_keeps_the_best_part_and_tells_the_error(other, tmp_path):
    done = run("lora", "resize", other, "--rank=1", "-o", tmp_path / "small.safetensors")
    small, lost, whole = changes(tmp_path / "small.safetensors"), 0.0, 0.0
    for name, change in changes(other).items():
        singular = np.linalg.svd(change, compute_uv=False)
        error = np.linalg.norm(small[name] - change)
        assert error == pytest.approx(np.linalg.norm(singular[1:]), rel=1e-4)
        lost, whole = lost + error**2, whole + np.linalg.norm(change) ** 2
    assert f"{100 * np.sqrt(lost / whole):.3g} %" in done.stderr
    assert done.stdout.count("rank 3 -> 1") == len(small)
    run("lora", "resize", other, "--keep_energy=0.7", "-o", tmp_path / "share.safetensors")
    for name, change in changes(other).items():
        energy = np.linalg.svd(change, compute_uv=False) ** 2
        rank = 1 + int(np.searchsorted(np.cumsum(energy) / energy.sum(), 0.7))
        assert np.linalg.matrix_rank(changes(tmp_path / "share.safetensors")[name], tol=1e-3) == rank


def test_fuse_bakes_the_change_in_and_extract_finds_it_again(tmp_path):
    run("lora", "fuse", "--pretrained_model_name_or_path", BASE, f"--lora={LORA}:0.8", "--scale=0.5", "-o", tmp_path / "m")
    before = load_file(BASE / "unet/diffusion_pytorch_model.safetensors")
    after = load_file(tmp_path / "m/unet/diffusion_pytorch_model.safetensors")
    assert before.keys() == after.keys()
    expected = changes(LORA)
    changed = 0
    for key, weight in before.items():
        assert after[key].dtype == weight.dtype
        change = expected.get("unet_" + key.removesuffix(".weight").replace(".", "_"))
        if change is None:
            assert np.array_equal(after[key], weight), key
            continue
        fused = weight.astype(np.float64) + 0.4 * change.reshape(weight.shape)
        assert np.abs(after[key] - fused).max() <= 1e-3 * np.abs(fused).max(), key  # half precision
        changed += 1
    assert changed == 56
    run("lora", "extract", f"--tuned={tmp_path / 'm'}", f"--base={BASE}", "--rank=4", "-o", tmp_path / "x.safetensors")
    told = json.loads(run("lora", "diff", tmp_path / "x.safetensors", LORA, "--json").stdout)
    assert told["cosine"] > 0.999 and told["norm_a"] == pytest.approx(0.4 * told["norm_b"], rel=0.01)
    again = run("lora", "fuse", "--pretrained_model_name_or_path", BASE, f"--lora={LORA}", "-o", tmp_path / "m", code=1)
    assert "not empty" in again.stderr


USAGE = {
    "no file": (["lora", "inspect"], "FILE is required"),
    "unknown dialect": (["lora", "convert", "a", "b", "--to=webui"], "diffusers, peft, kohya"),
    "no output": (["lora", "merge", "a"], "--output is required"),
    "rank without svd": (["lora", "merge", "a", "-o", "b", "--rank=3"], "--method=svd"),
    "svd without rank": (["lora", "merge", "a", "-o", "b", "--method=svd"], "--rank or --keep_energy"),
    "resize to nothing": (["lora", "resize", "a", "-o", "b"], "rank"),
    "energy above 1": (["lora", "resize", "a", "-o", "b", "--keep_energy=2"], "at most 1"),
    "weight that is none": (["lora", "merge", "a:nan", "-o", "b"], "a:nan"),
    "a word too many": (["lora", "diff", "a", "b", "c"], "found 'c'"),
    "no such block": (["lora", "fuse", "--pretrained_model_name_or_path=x", "--lora=a", "-o", "b",
                       "--lora_block_weights", "left=1"], "left=1"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_words_exit_2_and_say_what_was_expected(case):
    words, said = USAGE[case]
    assert said in run(*words, code=2).stderr


def test_files_that_cannot_be_used_exit_1_and_write_nothing(other, tmp_path):
    out = tmp_path / "out.safetensors"
    (tmp_path / "noise.safetensors").write_bytes(bytes(range(256)) * 8)
    save_file({"what.is.this": np.ones((3, 3, 1, 1), np.float32), "and.that": np.ones((3, 3, 1), np.float32)},
              tmp_path / "alien.safetensors")
    tensors = load_file(other)
    tensors.pop(next(iter(k for k in tensors if k.endswith("lora_up.weight"))))
    save_file(tensors, tmp_path / "half.safetensors")
    tensors = load_file(other) | {"what.is.this": np.ones(3, np.float32)}
    save_file(tensors, tmp_path / "odd.safetensors")
    for name, said in [("nothing", "nothing.safetensors"), ("noise", "noise.safetensors"), ("alien", "and.that"),
                       ("half", "up")]:
        done = run("lora", "convert", tmp_path / f"{name}.safetensors", out, code=1)
        assert said in done.stderr, name
    assert "what.is.this" in run("lora", "convert", tmp_path / "odd.safetensors", out, "--strict", code=1).stderr
    assert not out.exists()
    assert "what.is.this" in run("lora", "convert", tmp_path / "odd.safetensors", out).stderr
    assert out.exists()

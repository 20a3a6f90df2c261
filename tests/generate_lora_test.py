"""`lorikeet generate` with LoRAs of every kind: weights, blocks, learned words, and what has no effect."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
BASE = ROOT / "models/lorikeet-base"
LORA = ROOT / "tests/data/generate/lora.safetensors"
CLOSEST = 2  # of 255, the agreed tolerance


def run(*words, code=0):
    done = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done.stderr


def draw(output, *flags, prompt="red apple", model=BASE, code=0):
    return run("generate", f"--pretrained_model_name_or_path={model}", f"--prompt={prompt}", "--num_inference_steps=2",
               "--height=32", "--width=32", "--seed=0", "--device=cpu", f"--output={output}", *flags, code=code)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), int)


def picture(tmp_path, *flags, **how):
    draw(tmp_path / "p.png", *flags, **how)
    return pixels(tmp_path / "p.png")


def near(a, b):
    return np.abs(a - b).max() <= CLOSEST


def drawn(shape, seed, size=0.3):
    return (size * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def base_shapes():
    return {key: tensor.shape for key, tensor in load_file(BASE / "unet/diffusion_pytorch_model.safetensors").items()}


def kinds():
    """Small files of every kind in kohya's and LyCORIS' words, each for one layer."""
    q = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    conv = "lora_unet_mid_block_resnets_0_conv1"
    norm = "lora_unet_mid_block_resnets_0_norm1"
    width, = {shape[0] for key, shape in base_shapes().items() if key.endswith("mid_block.resnets.0.conv1.weight")}
    lora = {f"{q}.lora_down.weight": drawn((2, width), 1), f"{q}.lora_up.weight": drawn((width, 2), 2)}
    pair = lambda n, seed: {f"{conv}.hada_w{n}_a": drawn((2, width), seed), f"{conv}.hada_w{n}_b": drawn((2, width), seed + 1),
                            f"{conv}.hada_t{n}": drawn((2, 2, 3, 3), seed + 2)}  # fmt: skip
    return {
        "lora": lora | {f"{q}.alpha": np.array(1, np.float32)},
        "locon": {f"{conv}.lora_down.weight": drawn((2, width, 3, 3), 3), f"{conv}.lora_up.weight": drawn((width, 2, 1, 1), 4)},
        "tucker": {f"{conv}.lora_down.weight": drawn((2, width, 1, 1), 5), f"{conv}.lora_up.weight": drawn((width, 2, 1, 1), 6),
                   f"{conv}.lora_mid.weight": drawn((2, 2, 3, 3), 7)},
        "loha": {f"{q}.hada_w{n}_{side}": drawn((width, 2) if side == "a" else (2, width), 8 + n, 1)
                 for n in (1, 2) for side in "ab"},
        "loha tucker": pair(1, 20) | pair(2, 30),
        "lokr": {f"{q}.lokr_w1": drawn((4, 4), 12), f"{q}.lokr_w2_a": drawn((width // 4, 2), 13),
                 f"{q}.lokr_w2_b": drawn((2, width // 4), 14)},
        "full": {f"{q}.diff": drawn((width, width), 15, 0.1)},
        "norm": {f"{norm}.w_norm": drawn((width,), 16), f"{norm}.b_norm": drawn((width,), 17)},
        "dora per output": lora | {f"{q}.dora_scale": np.abs(drawn((width, 1), 18)) + 1},
        "dora per input": lora | {f"{q}.dora_scale": np.abs(drawn((1, width), 19)) + 1},
    }  # fmt: skip


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_draws_live_what_it_draws_fused_and_nothing_at_scale_0(kind, tmp_path):
    save_file(kinds()[kind], tmp_path / "x.safetensors")
    lora = f"--lora={tmp_path / 'x.safetensors'}"
    base, none, live = (picture(tmp_path, *flags) for flags in ([], [lora, "--scale=0"], [lora, "--scale=0.3"]))
    assert np.array_equal(base, none)
    assert not near(base, live)
    run("lora", "fuse", f"--pretrained_model_name_or_path={BASE}", lora, "--scale=0.3", f"--output={tmp_path / 'fused'}")
    assert near(picture(tmp_path, model=tmp_path / "fused"), live)


def test_several_loras_draw_what_their_merger_draws(tmp_path):
    save_file(kinds()["locon"], tmp_path / "b.safetensors")
    both = [f"--lora={LORA}:0.4", f"--lora={tmp_path / 'b.safetensors'}:-0.8"]
    run("lora", "merge", f"{LORA}:0.4", f"{tmp_path / 'b.safetensors'}:-0.8", "-o", tmp_path / "m.safetensors")
    assert near(picture(tmp_path, *both, "--scale=0.5"),
                picture(tmp_path, f"--lora={tmp_path / 'm.safetensors'}", "--scale=0.5"))
    assert near(picture(tmp_path, *both, "--scale=0.5"), picture(tmp_path, *reversed(both), "--scale=0.5"))


def test_block_weights_are_the_strength_of_their_blocks(tmp_path):
    lora = f"--lora={LORA}"
    off = ["--lora_block_weights", "down=0", "mid=0", "up=0", "text_encoder=0"]
    assert np.array_equal(picture(tmp_path), picture(tmp_path, lora, *off))
    assert near(picture(tmp_path, lora, "--scale=0.5"),
                picture(tmp_path, lora, "--lora_block_weights", "down=0.5", "mid=0.5", "up=0.5", "text_encoder=0.5"))
    tensors = load_file(LORA)
    kept = {k: v for k, v in tensors.items() if not (k.startswith("unet.up_blocks.2.attentions.1") or "mid_block" in k)}
    save_file(kept, tmp_path / "kept.safetensors")
    assert len(kept) < len(tensors)
    assert near(picture(tmp_path, f"--lora={tmp_path / 'kept.safetensors'}"),
                picture(tmp_path, lora, "--lora_block_weights", "mid=0", "up.block_2.1=0"))
    assert "down.block_2" in draw(tmp_path / "p.png", lora, "--lora_block_weights", "down.block_2=1", code=2)


def test_a_learned_word_of_two_vectors_stands_for_two_tokens(tmp_path):
    ids = json.loads((BASE / "tokenizer/vocab.json").read_text())
    table = load_file(BASE / "text_encoder/model.safetensors")
    table = next(t for key, t in table.items() if key.endswith("token_embedding.weight"))
    vectors = table[[ids["red</w>"], ids["apple</w>"]]].astype(np.float32)
    save_file({"<s1>": vectors}, tmp_path / "word.safetensors")
    red_apple = picture(tmp_path)
    with_word = [f"--textual_inversion={tmp_path / 'word.safetensors'}"]
    assert np.array_equal(picture(tmp_path, *with_word, prompt="<s1>"), red_apple)
    assert not np.array_equal(picture(tmp_path, prompt="<s1>"), red_apple)
    bundled = kinds()["lora"] | {"bundle_emb.<s1>.string_to_param.*": vectors}
    save_file(bundled, tmp_path / "bundled.safetensors")
    said = draw(tmp_path / "b.png", f"--lora={tmp_path / 'bundled.safetensors'}", "--scale=0", prompt="<s1>")
    assert np.array_equal(pixels(tmp_path / "b.png"), red_apple) and "<s1>" in said
    save_file({"<s2>": vectors[:, :64].copy()}, tmp_path / "narrow.safetensors")
    said = draw(tmp_path / "n.png", f"--textual_inversion={tmp_path / 'narrow.safetensors'}", code=1)
    assert "64" in said and "128" in said


def test_what_has_no_effect_is_told_and_strict_refuses_it(tmp_path):
    odd = kinds()["lora"] | {"lora_unet_down_blocks_9_attentions_0_proj_in.lora_down.weight": drawn((1, 8), 1),
                             "lora_unet_down_blocks_9_attentions_0_proj_in.lora_up.weight": drawn((8, 1), 1)}  # fmt: skip
    save_file(odd, tmp_path / "odd.safetensors")
    lora = f"--lora={tmp_path / 'odd.safetensors'}"
    assert "down_blocks.9.attentions.0.proj_in" in draw(tmp_path / "p.png", lora)
    assert "down_blocks.9.attentions.0.proj_in" in draw(tmp_path / "s.png", lora, "--strict", code=1)
    assert not (tmp_path / "s.png").exists()


def test_loras_for_other_models_are_refused(tmp_path):
    sdxl = {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight": drawn((2, 640), 1),
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_up.weight": drawn((640, 2), 2)}  # fmt: skip
    save_file(sdxl, tmp_path / "xl.safetensors")
    assert "Stable Diffusion XL" in draw(tmp_path / "p.png", f"--lora={tmp_path / 'xl.safetensors'}", code=1)
    wide = {k.replace("mid_block", "mid_block"): np.zeros((2, 640) if "down" in k else (640, 2), np.float32)
            for k in kinds()["lora"] if "alpha" not in k}  # fmt: skip
    save_file(wide, tmp_path / "wide.safetensors")
    assert "another base model" in draw(tmp_path / "p.png", f"--lora={tmp_path / 'wide.safetensors'}", code=1)


@pytest.mark.parametrize("flags, said", [
    (["--lora_block_weights", "mid=0.5"], "--lora"),
    (["--lora=x", "--lora_block_weights", "mid"], "BLOCK=WEIGHT"),
    (["--lora=x", "--lora_block_weights", "mid=1", "mid=2"], "two weights for mid"),
    (["--lora=x:inf"], "x:inf"),
    (["--lora=:0.5"], ":0.5"),
    (["--single_file_config=models/lorikeet-base"], "single file"),
])  # fmt: skip
def test_wrong_words_exit_2(flags, said, tmp_path):
    assert said in draw(tmp_path / "p.png", *flags, code=2)

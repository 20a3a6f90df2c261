"""Models in a single file of the original layout: generate, train and lora fuse with them, and what is refused."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import single_file_support as support
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from train_support import BASE, LORA, PROGRAM, check_failed, noise, run_recipe

STYLE = "tests/data/generate/lora.safetensors"


def generate(model, output, *flags, env=None):
    return subprocess.run(
        [PROGRAM, "generate", f"--pretrained_model_name_or_path={model}", "--prompt=red apple", "--height=32",
         "--width=32", "--num_inference_steps=2", "--seed=0", "--device=cpu", f"--output={output}", *flags],
        capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})},
    )  # fmt: skip


def picture(model, output, *flags):
    done = generate(model, output, *flags)
    assert done.returncode == 0, done.stderr
    return Path(output).read_bytes()


CONFIG = f"--single_file_config={BASE}"


@pytest.fixture(scope="module")
def tensors():
    """The embedded model in the original layout, by the tests' own map, with what real files have besides."""
    made = support.single_file_tensors(BASE, load_file)
    made["model_ema.decay"] = np.zeros(1, np.float32)
    made["alphas_cumprod"] = np.zeros(4, np.float32)
    made["cond_stage_model.transformer.text_model.embeddings.position_ids"] = np.arange(77, dtype=np.int64)[None]
    return made


@pytest.fixture(scope="module")
def model(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The picture that the model folder draws."""
    return picture(BASE, tmp_path_factory.mktemp("plain") / "p.png")


def test_draws_what_the_folder_draws(model, plain, tmp_path):
    assert picture(model, tmp_path / "p.png", CONFIG) == plain


@pytest.mark.parametrize("nested", [True, False])
def test_a_ckpt_draws_it_too(tensors, plain, tmp_path, nested):
    path = tmp_path / "model.ckpt"
    support.write_ckpt(path, tensors, {"epoch": 3, "global_step": 470000, "callbacks": {}}, nested)
    assert picture(path, tmp_path / "p.png", CONFIG) == plain


def test_files_without_the_middle_of_the_text_encoders_names_are_read(tensors, plain, tmp_path):
    save_file({key.replace(".transformer.text_model.", ".transformer."): value for key, value in tensors.items()},
              tmp_path / "m.safetensors")  # fmt: skip
    assert picture(tmp_path / "m.safetensors", tmp_path / "p.png", CONFIG) == plain


def test_a_folder_may_have_pickled_weights(plain, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(BASE, folder)
    for part, stem, name in [("unet", "diffusion_pytorch_model", "diffusion_pytorch_model"),
                             ("vae", "diffusion_pytorch_model", "diffusion_pytorch_model"),
                             ("text_encoder", "model", "pytorch_model")]:  # fmt: skip
        weights = folder / part / f"{stem}.safetensors"
        support.write_ckpt(folder / part / f"{name}.bin", load_file(weights), nested=False)
        weights.unlink()
    assert picture(folder, tmp_path / "p.png") == plain


def test_training_from_it_is_training_from_the_folder(model, tmp_path):
    (tmp_path / "data").mkdir()
    noise(tmp_path / "data/a.png")
    (tmp_path / "data/metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": "a word"}) + "\n")
    flags = {"train_data_dir": tmp_path / "data", "resolution": 32}
    for name, more in [("folder", {}), ("file", {"pretrained_model_name_or_path": model, "single_file_config": BASE})]:
        done = run_recipe("text-to-image", {**flags, **more, "output_dir": tmp_path / name})
        assert done.returncode == 0, done.stderr
    weights = [load_file(tmp_path / name / LORA) for name in ("folder", "file")]
    assert weights[0].keys() == weights[1].keys() and len(weights[0]) > 20
    for key, value in weights[0].items():
        assert np.array_equal(value, weights[1][key]), key


def fuse(base, output, *flags):
    done = subprocess.run([PROGRAM, "lora", "fuse", f"--pretrained_model_name_or_path={base}", f"--lora={STYLE}:0.8",
                           f"--output={output}", *flags], capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


def test_fusing_writes_the_original_layout_and_reads_it(model, plain, tmp_path):
    folder = fuse(BASE, tmp_path / "folder")
    expected = support.single_file_tensors(folder, load_file)
    drawn = picture(folder, tmp_path / "p.png")
    assert drawn != plain
    for base, flags in [(BASE, []), (model, [CONFIG])]:
        path = fuse(base, tmp_path / "fused.safetensors", *flags)
        written = load_file(path)
        extra = {"cond_stage_model.transformer.text_model.embeddings.position_ids"} if base == model else set()
        assert written.keys() == expected.keys() | extra
        for key, value in expected.items():
            assert written[key].dtype == value.dtype and np.array_equal(written[key], value), key
        with safe_open(path, "np") as file:
            assert file.metadata()["modelspec.prediction_type"] == "epsilon"
        assert picture(path, tmp_path / "p.png", CONFIG) == drawn
        path.unlink()
    assert picture(fuse(model, tmp_path / "again", CONFIG), tmp_path / "p.png") == drawn


def test_what_is_no_such_model_is_told(model, tensors, tmp_path):
    out = tmp_path / "p.png"
    check_failed(generate(STYLE, out), 1, "lora.safetensors is a LoRA")
    save_file({**tensors, "conditioner.embedders.0.x": np.zeros(1)}, tmp_path / "xl.safetensors")
    hint = check_failed(generate(tmp_path / "xl.safetensors", out, CONFIG), 1, "is a Stable Diffusion XL model")
    assert "Stable Diffusion 1.x and 2.x" in hint
    for name, shape in [("model.diffusion_model.input_blocks.1.0.in_layers.2.weight", (64, 64, 1, 1)),
                        ("first_stage_model.encoder.mid.attn_1.q.weight", (96, 96, 3, 3)),
                        ("cond_stage_model.transformer.text_model.final_layer_norm.bias", (3,))]:  # fmt: skip
        save_file({**tensors, name: np.zeros(shape, np.float32)}, tmp_path / "m.safetensors")
        check_failed(generate(tmp_path / "m.safetensors", out, CONFIG), 1, "does not fit its config", "of another shape")
    save_file({**tensors, "model.diffusion_model.out.7.weight": np.zeros(1)}, tmp_path / "m.safetensors")
    check_failed(generate(tmp_path / "m.safetensors", out, CONFIG), 1, "1 unexpected: out.7.weight")
    (tmp_path / "evil.ckpt").write_bytes(b"")
    check_failed(generate(tmp_path / "evil.ckpt", out, CONFIG), 1, "is no file of torch.save's")
    assert not out.exists()


def test_a_ckpt_runs_no_code(tensors, tmp_path):
    path, trace = tmp_path / "model.ckpt", tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {trace}",)

    support.write_ckpt(path, tensors, {"hyper_parameters": Evil()})
    done = generate(path, tmp_path / "p.png", CONFIG)
    check_failed(done, 1, "the pickle wants to call posix.system, which is refused")
    assert not trace.exists()


def test_flags_that_do_not_go_together_are_refused(model, tmp_path):
    out = tmp_path / "p.png"
    check_failed(generate(model, out, CONFIG, "--variant=fp16"), 2, "is a single file")
    check_failed(generate(model, out, CONFIG, "--revision=v1"), 2, "is a single file")
    check_failed(generate(BASE, out, CONFIG), 2, "is a model folder")
    check_failed(generate(model, out, "--single_file_config=./absent"), 1, "is no folder here")


def test_without_a_config_it_is_said_what_is_missing(model, tmp_path):
    hint = check_failed(generate(model, tmp_path / "p.png", env={"HF_HUB_CACHE": str(tmp_path)}), 1, "has no tokenizer")
    assert "lorikeet hub download openai/clip-vit-large-patch14" in hint and "--single_file_config" in hint

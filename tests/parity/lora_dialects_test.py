"""LoRA files of every dialect that we write, read by Diffusers and by PEFT: nothing missing or left over, each weight
changed as by the adapter they came from, and the same picture as ours. And kohya's and old Diffusers' files, made here,
read by us."""

import hashlib
import json
import logging
import re

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import _collate_lora_metadata
from lycoris import LycorisNetwork, create_lycoris
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

DIALECTS = ["diffusers", "peft", "kohya"]
COMPONENTS = ["unet", "text_encoder"]
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
UNET_LAYERS = [*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv_shortcut", "time_emb_proj",
               "conv_in", "downsamplers.0.conv", "time_embedding.linear_1"]
TEXT_LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
STEPS = 5


@pytest.fixture
def open_pipeline(base_model):
    def fresh():
        torch.set_num_threads(1)
        pipeline = StableDiffusionPipeline.from_pretrained(base_model, dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return fresh


@pytest.fixture
def convert(lorikeet, tmp_path):
    def to(dialect, source, *flags):
        target = tmp_path / f"{dialect}.safetensors"
        lorikeet("lora", "convert", source, target, f"--to={dialect}", *flags)
        return target

    return to


def adapt(pipeline, unet_layers=UNET_LAYERS, **kind):
    """Adapters of mixed ranks and strengths, each strong enough to be seen."""
    torch.manual_seed(3)
    pipeline.unet.add_adapter(LoraConfig(
        r=4, lora_alpha=2, rank_pattern={"to_k": 2, "conv1": 3}, alpha_pattern={"to_k": 3, "ff.net.2": 5, "conv1": 1},
        target_modules=unet_layers, init_lora_weights=False, **kind))
    pipeline.text_encoder.add_adapter(LoraConfig(
        r=3, lora_alpha=3, rank_pattern={"k_proj": 5}, alpha_pattern={"fc1": 1}, target_modules=TEXT_LAYERS,
        init_lora_weights=False, **kind))
    for component in COMPONENTS:
        for name, value in getattr(pipeline, component).named_parameters():
            if "magnitude" in name:
                value.data *= 1 + 0.2 * torch.rand_like(value)
    return pipeline


def saved(pipeline, folder):
    models = {component: getattr(pipeline, component) for component in COMPONENTS}
    layers = {f"{component}_lora_layers": get_peft_model_state_dict(model) for component, model in models.items()}
    pipeline.save_lora_weights(folder, **layers, **_collate_lora_metadata(models))
    return folder / "pytorch_lora_weights.safetensors"


def adapted_layers(pipeline):
    for component in COMPONENTS:
        for name, layer in getattr(pipeline, component).named_modules():
            if getattr(layer, "lora_A", None):
                yield f"{component}.{name}", layer


def changed_weights(pipeline):
    weights = {}
    for name, layer in adapted_layers(pipeline):
        layer.merge()
        weights[name] = layer.get_base_layer().weight.detach().clone()
        layer.unmerge()
    return weights


def expect_same_weights(found, expected):
    assert sorted(found) == sorted(expected)
    for name, weight in expected.items():
        assert (found[name] - weight).abs().max() <= 1e-6 * weight.abs().max(), name


def their_picture(pipeline):
    return np.asarray(pipeline("red apple", num_inference_steps=STEPS,
                               generator=torch.Generator().manual_seed(0)).images[0], int)


@pytest.fixture
def our_picture(lorikeet, base_model, tmp_path):
    def draw(*flags):
        lorikeet("generate", f"--pretrained_model_name_or_path={base_model}", *flags, "--prompt=red apple", "--seed=0",
                 f"--num_inference_steps={STEPS}", "--device=cpu", f"--output={tmp_path / 'ours.png'}")
        return np.asarray(Image.open(tmp_path / "ours.png"), int)

    return draw


@pytest.fixture
def load_whole(open_pipeline, caplog):
    """A new pipeline with this file, of which nothing was missing or left over."""
    def load(file):
        for library in ("diffusers", "transformers"):
            logging.getLogger(library).propagate = True
        pipeline = open_pipeline()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            pipeline.load_lora_weights(file)
        said = [record.getMessage() for record in caplog.records]
        assert [words for words in said if re.search("(unexpected|missing) keys|UNEXPECTED|MISSING", words)] == []
        return pipeline

    return load


@pytest.mark.parametrize("dialect", DIALECTS)
def test_diffusers_reads_every_dialect(dialect, open_pipeline, convert, load_whole, our_picture, tmp_path):
    source = adapt(open_pipeline())
    file = convert(dialect, saved(source, tmp_path / "source"))
    loaded = load_whole(file)
    expect_same_weights(changed_weights(loaded), changed_weights(source))
    theirs = their_picture(loaded)
    assert np.abs(theirs - their_picture(open_pipeline())).max() > 20
    assert np.abs(our_picture(f"--lora={file}") - theirs).max() <= 2


@pytest.mark.parametrize("dialect", ["diffusers", "peft"])
def test_diffusers_reads_our_dora(dialect, open_pipeline, convert, load_whole, our_picture, tmp_path):
    source = adapt(open_pipeline(), use_dora=True)
    file = convert(dialect, saved(source, tmp_path / "source"))
    loaded = load_whole(file)
    expect_same_weights(changed_weights(loaded), changed_weights(source))
    assert np.abs(our_picture(f"--lora={file}") - their_picture(loaded)).max() <= 2


@pytest.mark.parametrize("dialect", ["diffusers", "peft"])
def test_diffusers_reads_our_biases(dialect, open_pipeline, convert, load_whole, our_picture, tmp_path):
    source = adapt(open_pipeline(), ["to_out.0", "ff.net.2", "conv1"], lora_bias=True)
    for _, layer in adapted_layers(source):
        torch.nn.init.normal_(layer.lora_B["default"].bias, std=0.3)
    file = convert(dialect, saved(source, tmp_path / "source"))
    theirs = their_picture(load_whole(file))
    assert np.abs(theirs - their_picture(source)).max() <= 2
    assert np.abs(our_picture(f"--lora={file}") - theirs).max() <= 2


@pytest.mark.parametrize("use_dora", [False, True])
def test_peft_reads_our_file(use_dora, open_pipeline, convert, tmp_path):
    source = adapt(open_pipeline(), use_dora=use_dora)
    file = convert("peft", saved(source, tmp_path / "source"))
    with safe_open(file, "pt") as opened:
        settings = json.loads(opened.metadata()["lora_adapter_metadata"])
    target = open_pipeline()
    for component in COMPONENTS:
        own = {key.removeprefix(component + "."): value for key, value in settings.items() if key.startswith(component + ".")}
        weights = {key.removeprefix(component + ".").removeprefix("text_model."): value
                   for key, value in load_file(file).items() if key.startswith(component + ".")}
        model = getattr(target, component)
        inject_adapter_in_model(LoraConfig(**own), model, adapter_name="default")
        result = set_peft_model_state_dict(model, weights, "default")
        assert result.unexpected_keys == []
        assert [key for key in result.missing_keys if "lora_" in key] == []
    expect_same_weights(changed_weights(target), changed_weights(source))


def test_hashes_are_those_of_sd_scripts(convert, tmp_path):
    """Its rule: the file saved with its ss_ metadata alone, the bytes after the header and 64 KiB at 1 MiB."""
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora"
    save_file({f"{name}.down.weight": torch.randn(128, 1280), f"{name}.up.weight": torch.randn(1280, 128)},
              tmp_path / "source.safetensors")
    file = convert("kohya", tmp_path / "source.safetensors")
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    content = save(load_file(file), {key: value for key, value in metadata.items() if key.startswith("ss_")})
    data = content[8 + int.from_bytes(content[:8], "little"):]
    assert metadata["sshs_model_hash"] == hashlib.sha256(data).hexdigest()
    assert len(content) > 0x100000, "large enough for the legacy hash to mean something"
    assert metadata["sshs_legacy_hash"] == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]


def kohya_file(pipeline, path):
    """As kohya's network module names its layers, each with its own alpha."""
    tensors = {}
    for name, layer in adapted_layers(pipeline):
        prefix, name = ("lora_unet_", name.removeprefix("unet.")) if name.startswith("unet.") else (
            "lora_te_text_model_", name.removeprefix("text_encoder.").removeprefix("text_model."))
        name = prefix + name.replace(".", "_")
        tensors[f"{name}.lora_down.weight"] = layer.lora_A["default"].weight.detach()
        tensors[f"{name}.lora_up.weight"] = layer.lora_B["default"].weight.detach()
        tensors[f"{name}.alpha"] = torch.tensor(layer.scaling["default"] * layer.r["default"])
    save_file(tensors, path, {"ss_network_module": "networks.lora"})
    return path


def test_kohyas_file_draws_the_same_with_us(open_pipeline, our_picture, tmp_path):
    source = adapt(open_pipeline())
    file = kohya_file(source, tmp_path / "kohya.safetensors")
    assert np.abs(our_picture(f"--lora={file}") - their_picture(source)).max() <= 2


@pytest.mark.parametrize("prefix", ["unet.", ""])
def test_old_diffusers_file_draws_the_same_with_us(prefix, open_pipeline, load_whole, our_picture, tmp_path):
    """Diffusers itself reads only the files whose keys name the model; the older ones are of the same words."""
    source = open_pipeline()
    torch.manual_seed(3)
    source.unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=ATTENTION, init_lora_weights=False))
    tensors = {}
    for name, layer in adapted_layers(source):
        attention, end = name.removeprefix("unet.").removesuffix(".0").rsplit(".", 1)
        name = f"{prefix}{attention}.processor.{end}_lora"
        tensors[f"{name}.down.weight"] = layer.lora_A["default"].weight.detach()
        tensors[f"{name}.up.weight"] = layer.lora_B["default"].weight.detach()
    file = tmp_path / "old.safetensors"
    save_file(tensors, file)
    theirs = their_picture(source)
    if prefix:
        assert np.abs(their_picture(load_whole(file)) - theirs).max() <= 2
    assert np.abs(our_picture(f"--lora={file}") - theirs).max() <= 2


@pytest.mark.parametrize("algo, settings", [
    ("loha", {}), ("loha", {"use_tucker": True}), ("lokr", {"factor": 4}), ("lokr", {"factor": 4, "use_tucker": True}),
    ("lokr", {"factor": 4, "decompose_both": True, "dora_wd": True}), ("lokr", {"factor": 4, "full_matrix": True}),
    ("lora", {"use_tucker": True, "dora_wd": True}), ("lora", {"dora_wd": True, "wd_on_output": False}),
    ("full", {"train_norm": True})])
def test_lycoris_files_come_through_bit_for_bit(algo, settings, open_pipeline, convert, tmp_path):
    """So that whatever reads LyCORIS' own file reads ours, under the names that kohya's programs give the layers."""
    LycorisNetwork.apply_preset({"target_module": ["Transformer2DModel", "ResnetBlock2D"]})
    torch.manual_seed(0)
    network = create_lycoris(open_pipeline().unet, 1.0, linear_dim=4, linear_alpha=3, conv_dim=2, conv_alpha=1,
                             algo=algo, **settings)
    network.apply_to()
    for parameter in network.parameters():
        parameter.data = torch.randn_like(parameter)
    theirs = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(theirs, tmp_path / "lycoris.safetensors")
    ours = load_file(convert("kohya", tmp_path / "lycoris.safetensors"))
    assert sorted(ours) == sorted(key.replace("lycoris_", "lora_unet_") for key in theirs)
    for key, value in theirs.items():
        if "full_matrix" in settings and key.endswith(".alpha"):
            continue  # no program uses it: two whole factors have no rank
        assert torch.equal(ours[key.replace("lycoris_", "lora_unet_")], value), key

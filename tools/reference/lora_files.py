"""LoRA files of every dialect and what they change, for src/lora/lora_read_test.cpp.

Makes tests/data/lora/. Versions: scripts/requirements/parity.txt, and lycoris-lora 4.1.3. Command:

    .venv-parity/bin/python tools/reference/lora_files.py

Each case is a small file; changes.safetensors has the base weights ("base|MODEL|PATH") and, in float64, what the case
adds to them at scale 1 ("CASE|MODEL|PATH|1"), at 0.3 where that is not 0.3 times as much, and to biases
("CASE|MODEL|PATH|bias"). Diffusers', PEFT's and
LyCORIS' files are written by those libraries, and their changes are those of the libraries' own merging. Where no
library can be asked, the change is worked out here in numpy: kohya's and cloneofsimo's files; LoHa and LoKr with an
alpha that is not the rank, which LyCORIS multiplies in twice; DoRA at scale 0.3, which is linear between the base and
the change at scale 1 in every dialect but PEFT's.
"""

import pathlib
import shutil
import tempfile

import numpy
import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.utils import convert_state_dict_to_diffusers
from lycoris.modules.full import FullModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/lora"
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
ATTENTION = f"{BLOCK}.attn1.to_q"
OUTPUT = f"{BLOCK}.attn1.to_out.0"
FEED_FORWARD = f"{BLOCK}.ff.net.0.proj"
CONV = "down_blocks.1.resnets.0.conv1"
CONV_1X1 = "down_blocks.1.attentions.0.proj_in"
NORM = "down_blocks.1.attentions.0.norm"
TEXT = "text_model.encoder.layers.0.self_attn.q_proj"
MLP = "text_model.encoder.layers.1.mlp.fc1"

torch.manual_seed(3)
changes = {}
bases = {}


def numbers(*shape):
    return torch.randn(*shape)


def base(model, path, shape):
    """The weight of a layer: the same for all cases that change it."""
    key = f"base|{model}|{path}"
    if key not in bases:
        bases[key] = numbers(*shape)
    assert bases[key].shape == tuple(shape), key
    return bases[key].double().numpy()


def expect(case, model, path, at_scale, bias=None):
    whole, part = (torch.as_tensor(at_scale(scale), dtype=torch.float64).contiguous() for scale in (1.0, 0.3))
    changes[f"{case}|{model}|{path}|1"] = whole
    if not torch.allclose(part, 0.3 * whole, rtol=1e-12, atol=1e-14):
        assert case == "peft_dora", f"{case} {path}: all but PEFT's DoRA is linear in the scale"
        changes[f"{case}|{model}|{path}|0.3"] = part
    if bias is not None:
        changes[f"{case}|{model}|{path}|bias"] = torch.as_tensor(bias, dtype=torch.float64).contiguous()


# Diffusers and PEFT


class Tiny(nn.Module, PeftAdapterMixin):
    def __init__(self, layers):
        super().__init__()
        for path, layer in layers.items():
            module = self
            *parents, last = path.split(".")
            for name in parents:
                if not hasattr(module, name):
                    module.add_module(name, nn.Module())
                module = getattr(module, name)
            module.add_module(last, layer)


def unet():
    return Tiny(
        {
            ATTENTION: nn.Linear(6, 8, bias=False),
            OUTPUT: nn.Linear(6, 8),
            FEED_FORWARD: nn.Linear(6, 16),
            CONV: nn.Conv2d(6, 8, 3),
            CONV_1X1: nn.Conv2d(6, 8, 1),
        }
    ).double()


def text_encoder():
    return Tiny({TEXT: nn.Linear(6, 8), MLP: nn.Linear(6, 10)}).double()


def adapt(case, model_name, model, config):
    """Adapts the model, with values that float32 holds, and records what PEFT's merging does."""
    for path, layer in model.named_modules():
        if hasattr(layer, "weight"):
            layer.weight.data = torch.from_numpy(base(model_name, path, layer.weight.shape)).clone()
    model.add_adapter(config, "default")
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            values = numbers(*parameter.shape)
            parameter.data = (values.abs() if "magnitude" in name else values).double()
    state = {name: value.float() for name, value in get_peft_model_state_dict(model, adapter_name="default").items()}
    for path, layer in model.named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        weight, bias = layer.base_layer.weight.clone(), layer.base_layer.bias
        bias = None if bias is None else bias.clone()
        shift = None

        def merged(scale):
            nonlocal shift
            layer.base_layer.weight.data = weight.clone()
            layer.scale_layer(scale)
            layer.merge()
            change = layer.base_layer.weight.data - weight
            if config.lora_bias and scale == 1:
                shift = layer.base_layer.bias.data - bias
            layer.merged_adapters = []
            layer.unscale_layer(scale)
            return change

        expect(case, model_name, path, merged)
        if shift is not None:
            changes[f"{case}|{model_name}|{path}|bias"] = shift
        layer.base_layer.weight.data = weight
    return state


def write_pipeline(case, unet_config, text_config=None, convert=False, metadata=True, strip=False):
    model, encoder = unet(), text_encoder()
    unet_state = adapt(case, "unet", model, unet_config)
    text_state = adapt(case, "text_encoder", encoder, text_config) if text_config else None
    if convert:
        unet_state = convert_state_dict_to_diffusers(unet_state)
        text_state = convert_state_dict_to_diffusers(text_state)
    if strip:  # transformers 5 has no text_model. in its names
        text_state = {name.removeprefix("text_model."): value for name, value in text_state.items()}

    def settings(module):
        found = module.peft_config["default"].to_dict()
        return {name: sorted(value) if isinstance(value, set) else value for name, value in found.items()}

    StableDiffusionLoraLoaderMixin.save_lora_weights(
        OUT,
        unet_lora_layers=unet_state,
        text_encoder_lora_layers=text_state,
        weight_name=f"{case}.safetensors",
        unet_lora_adapter_metadata=settings(model) if metadata else None,
        text_encoder_lora_adapter_metadata=settings(encoder) if metadata and text_config else None,
    )


def write_peft():
    attention = ["to_q", "to_out.0"]
    every = [*attention, "proj", "conv1", "proj_in"]
    text = ["q_proj", "fc1"]
    write_pipeline("diffusers", LoraConfig(r=2, lora_alpha=2, target_modules=[*attention, "proj"]),
                   LoraConfig(r=3, lora_alpha=3, target_modules=text), convert=True, metadata=False)  # fmt: skip
    write_pipeline("diffusers_conv", LoraConfig(r=2, lora_alpha=3, target_modules=every),
                   LoraConfig(r=2, lora_alpha=3, target_modules=text), convert=True)  # fmt: skip
    write_pipeline("peft", LoraConfig(r=2, lora_alpha=2, target_modules=every),
                   LoraConfig(r=3, lora_alpha=3, target_modules=text), metadata=False, strip=True)  # fmt: skip
    patterns = {"rank_pattern": {"conv1": 3, "^" + ATTENTION: 1},
                "alpha_pattern": {"conv1": 7.0, "attn1.to_out.0": 0.5, "^conv1": 9.0, "o_q": 5.0}}  # fmt: skip
    write_pipeline("peft_patterns", LoraConfig(r=2, lora_alpha=5, target_modules=every, **patterns),
                   LoraConfig(r=2, lora_alpha=1, target_modules=text, alpha_pattern={"mlp.fc1": 3}))  # fmt: skip
    write_pipeline("peft_rslora", LoraConfig(r=3, lora_alpha=5, target_modules=every, use_rslora=True),
                   LoraConfig(r=2, lora_alpha=1, target_modules=text))  # fmt: skip
    write_pipeline("peft_dora", LoraConfig(r=2, lora_alpha=3, target_modules=every, use_dora=True),
                   LoraConfig(r=2, lora_alpha=3, target_modules=text, use_dora=True))  # fmt: skip
    write_pipeline("peft_bias", LoraConfig(r=2, lora_alpha=3, target_modules=["to_out.0", "conv1"], lora_bias=True))

    model = unet()
    adapt("peft_model", "unet", model, LoraConfig(r=2, lora_alpha=5, target_modules=every, alpha_pattern={"conv1": 1}))
    model.float().save_lora_adapter(OUT, weight_name="peft_model.safetensors")
    for safe in [True, False]:
        case = "peft_own" if safe else "peft_own_bin"
        config = LoraConfig(r=2, lora_alpha=7, target_modules=attention)
        state = adapt(case, "unet", unet(), config)
        again = get_peft_model(unet().float(), config)
        for name, parameter in again.named_parameters():
            if "lora_" in name:
                parameter.data = state[name.removeprefix("base_model.model.").replace(".default", "")]
        again.save_pretrained(OUT / case, safe_serialization=safe)
        (OUT / case / "README.md").unlink(missing_ok=True)


def write_old_diffusers():
    """Processors beside the attention, with and without the model's name; these came before Diffusers' metadata."""
    for case, prefix in {"old_diffusers": "unet.", "old_diffusers_bare": ""}.items():
        tensors = {}
        for path, old in {ATTENTION: f"{BLOCK}.attn1.processor.to_q_lora", OUTPUT: f"{BLOCK}.attn1.processor.to_out_lora"}.items():
            down, up = numbers(2, 6), numbers(8, 2)
            tensors[f"{prefix}{old}.down.weight"], tensors[f"{prefix}{old}.up.weight"] = down, up
            expect_product(case, "unet", path, base("unet", path, (8, 6)).shape, up, down)
        if prefix:
            down, up = numbers(2, 6), numbers(8, 2)
            old = "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora"
            tensors[f"{old}.down.weight"], tensors[f"{old}.up.weight"] = down, up
            expect_product(case, "text_encoder", TEXT, base("text_encoder", TEXT, (8, 6)).shape, up, down)
            save_file(tensors, OUT / f"{case}.safetensors")
        else:
            torch.save(tensors, OUT / f"{case}.bin")


# numpy


def wide(tensor):
    return tensor.double().numpy()


def lora_product(shape, up, down, strength=1.0, mid=None):
    up, down = wide(up), wide(down)
    if mid is not None:
        product = numpy.einsum("mnkl,im,nj->ijkl", wide(mid), up[:, :, 0, 0], down[:, :, 0, 0])
    else:
        product = up.reshape(len(up), -1) @ down.reshape(len(down), -1)
    return strength * product.reshape(shape)


def expect_product(case, model, path, shape, *factors, **options):
    change = lora_product(shape, *factors, **options)
    expect(case, model, path, lambda scale: scale * change)


def expect_dora(case, model, path, weight, product, lengths):
    """`lengths` has one axis that is not 1: norms go over the others."""
    axes = tuple(axis for axis in range(weight.ndim) if lengths.shape[axis] == 1)
    if all(size == 1 for size in lengths.shape):
        raise ValueError("no axis")
    changed = weight + product
    changed *= wide(lengths) / numpy.sqrt((changed**2).sum(axis=axes, keepdims=True))
    expect(case, model, path, lambda scale: scale * (changed - weight))


class Kohya:
    """A file with kohya's names, layer by layer."""

    def __init__(self, case):
        self.case, self.tensors = case, {}

    def name(self, model, path):
        return {"unet": "lora_unet_", "text_encoder": "lora_te_"}[model] + path.replace(".", "_")

    def lora(self, model, path, shape, rank, name=None, alpha=None, flat=False, **more):
        weight = base(model, path, shape)
        down, up = numbers(rank, *shape[1:]), numbers(shape[0], rank, *[1] * (len(shape) - 2))
        name = name or self.name(model, path)
        mid = None
        if more.get("tucker"):
            down, mid = numbers(rank, shape[1], 1, 1), numbers(rank, rank, *shape[2:])
            self.tensors[f"{name}.lora_mid.weight"] = mid
        if flat:  # two dimensions for a 1x1 convolution, four for a linear layer
            down = down.flatten(1) if down.dim() == 4 else down[:, :, None, None]
            up = up.flatten(1) if up.dim() == 4 else up[:, :, None, None]
        dtype = more.get("dtype", torch.float32)
        down, up = down.to(dtype), up.to(dtype)
        self.tensors[f"{name}.lora_down.weight"], self.tensors[f"{name}.lora_up.weight"] = down, up
        strength = 1.0
        if alpha is not None:
            self.tensors[f"{name}.alpha"] = torch.as_tensor(alpha)
            strength = float(alpha) / rank if float(alpha) != 0 else 1.0
        if "scale" in more:
            self.tensors[f"{name}.scale"] = torch.tensor(more["scale"])
            strength = more["scale"]
        product = lora_product(shape, up, down, strength, mid)
        if "lengths" in more:
            lengths = numbers(*more["lengths"]).abs()
            self.tensors[f"{name}.dora_scale"] = lengths
            axes = more.get("axes", more["lengths"])
            expect_dora(self.case, model, path, weight, product, lengths.reshape(axes))
        else:
            expect(self.case, model, path, lambda scale: scale * product)
        if "bias" in more:
            self.tensors[f"{name}.diff_b"] = numbers(shape[0])
            changes[f"{self.case}|{model}|{path}|bias"] = self.tensors[f"{name}.diff_b"].double()

    def save(self, suffix=".safetensors", **metadata):
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        if suffix == ".safetensors":
            save_file(tensors, OUT / f"{self.case}{suffix}", metadata or None)
        else:
            torch.save({"state_dict": tensors}, OUT / f"{self.case}{suffix}")


def write_kohya():
    file = Kohya("kohya")
    file.lora("unet", ATTENTION, (8, 6), 2, alpha=1.0)
    file.lora("unet", OUTPUT, (8, 6), 2, alpha=0.0)
    file.lora("unet", FEED_FORWARD, (16, 6), 4, alpha=8, dtype=torch.float16)
    file.lora("unet", CONV, (8, 6, 3, 3), 3, alpha=torch.tensor([2.0], dtype=torch.float16), bias=True)
    file.lora("unet", CONV_1X1, (8, 6, 1, 1), 2, alpha=1.0, flat=True)
    file.lora("text_encoder", TEXT, (8, 6), 2, alpha=1.0, dtype=torch.bfloat16)
    file.lora("text_encoder", MLP, (10, 6), 2, flat=True)
    file.save(ss_network_dim="2", ss_network_alpha="1")

    file = Kohya("locon")
    file.lora("unet", CONV, (8, 6, 3, 3), 3, alpha=1.5, tucker=True)
    file.lora("unet", CONV_1X1, (8, 6, 1, 1), 2, alpha=1.0, scale=0.7)
    file.lora("unet", ATTENTION, (8, 6), 2, alpha=1.0, lengths=(8, 1))
    file.lora("unet", OUTPUT, (8, 6), 2, alpha=3.0, lengths=(1, 6))
    file.lora("unet", FEED_FORWARD, (16, 6), 2, alpha=3.0, lengths=(16,), axes=(16, 1))
    file.lora("unet", "down_blocks.1.resnets.0.conv2", (8, 6, 3, 3), 2, alpha=1.0, lengths=(8, 1, 1, 1))
    file.lora("unet", "down_blocks.1.resnets.1.conv1", (8, 6, 3, 3), 2, alpha=1.0, lengths=(1, 6, 1, 1))
    file.lora("unet", "down_blocks.1.resnets.1.time_emb_proj", (6, 6), 2, alpha=1.0, lengths=(6, 1))
    file.lora("unet", "down_blocks.1.resnets.1.conv2", (6, 6, 3, 3), 2, alpha=1.0, lengths=(1, 6, 1, 1))
    file.save(".pt")

    names = {
        "conv_in": "input_blocks_0_0", "time_embedding.linear_1": "time_embed_0", "time_embedding.linear_2": "time_embed_2",
        "add_embedding.linear_1": "label_emb_0_0", "add_embedding.linear_2": "label_emb_0_2", "conv_out": "out_2",
        "down_blocks.0.downsamplers.0.conv": "input_blocks_3_0_op", "down_blocks.0.resnets.1.conv1": "input_blocks_2_0_in_layers_2",
        "down_blocks.1.resnets.0.conv_shortcut": "input_blocks_4_0_skip_connection",
        "down_blocks.1.attentions.0.proj_in": "input_blocks_4_1_proj_in",
        "down_blocks.2.attentions.1.transformer_blocks.9.attn1.to_out.0": "input_blocks_8_1_transformer_blocks_9_attn1_to_out_0",
        "mid_block.resnets.0.time_emb_proj": "middle_block_0_emb_layers_1", "mid_block.resnets.1.conv2": "middle_block_2_out_layers_3",
        "mid_block.attentions.0.transformer_blocks.3.ff.net.0.proj": "middle_block_1_transformer_blocks_3_ff_net_0_proj",
        "up_blocks.0.upsamplers.0.conv": "output_blocks_2_2_conv", "up_blocks.1.attentions.2.proj_out": "output_blocks_5_1_proj_out",
        "up_blocks.2.resnets.0.conv1": "output_blocks_6_0_in_layers_2",
    }  # fmt: skip
    file = Kohya("kohya_sdxl")
    for path, name in names.items():
        shape = (8, 6, 3, 3) if "conv" in path and "shortcut" not in path else (8, 6)
        if path == CONV_1X1:
            shape = (8, 6, 1, 1)
        file.lora("unet", path, shape, 2, f"lora_unet_{name}", alpha=1.0)
    file.lora("text_encoder", TEXT, (8, 6), 2, "lora_te1_" + TEXT.replace(".", "_"), alpha=1.0)
    file.lora("text_encoder_2", TEXT, (8, 6), 2, "lora_te2_" + TEXT.replace(".", "_"), alpha=1.0)
    file.lora("text_encoder_2", "text_projection", (8, 6), 2, "lora_te2_text_projection", alpha=1.0)
    file.save()


# LyCORIS


def layer(model, path, shape, with_bias=True):
    made = nn.Conv2d(shape[1], shape[0], shape[2], bias=with_bias) if len(shape) == 4 else nn.Linear(shape[1], shape[0], bias=with_bias)
    made = made.double()
    made.weight.data = torch.from_numpy(base(model, path, shape))
    return made


def write_lycoris(case, kind, prefix, layers, suffix=".safetensors", **options):
    """Modules of LyCORIS with random values. Their merging is asked where alpha is the rank or the module applies it once."""
    file = Kohya(case)
    for model, path, shape, more in layers:
        more = {**options, **more}
        rank, alpha = more.pop("rank", 2), more.pop("alpha", None)
        module = kind(path, layer(model, path, shape), 1.0, rank, rank if alpha is None else alpha, **more).double()
        for name, parameter in module.named_parameters():
            values = numbers(*parameter.shape)
            parameter.data = (values.abs() if "dora_scale" in name else values).double()
        if hasattr(module, "dora_scale"):
            module.dora_scale = nn.Parameter(module.dora_scale.double())
        weight = module.org_weight.detach().clone()
        with torch.no_grad():
            product = module.get_weight(shape) if hasattr(module, "get_weight") else None
            merged = module.get_merged_weight(1.0, shape)[0] - weight
            if kind in (LohaModule, LokrModule) and alpha is not None:
                assert not module.wd
                merged = product  # get_merged_weight has the strength twice
        expect(case, model, path, lambda scale, merged=merged: scale * merged)
        name = f"{prefix[model]}{path.replace('.', '_')}"
        for role, tensor in module.state_dict().items():
            file.tensors[f"{name}.{role}"] = tensor.detach().float().contiguous()
    return file


def write_all_lycoris():
    kohya = {"unet": "lora_unet_", "text_encoder": "lora_te_"}
    plain = {"unet": "lycoris_", "text_encoder": "lycoris_"}
    linear, wide_linear, conv = ("unet", ATTENTION, (8, 6)), ("unet", FEED_FORWARD, (16, 6)), ("unet", CONV, (8, 6, 3, 3))
    conv2 = ("unet", "down_blocks.1.resnets.0.conv2", (8, 6, 3, 3))
    conv3 = ("unet", "down_blocks.1.resnets.1.conv1", (8, 6, 3, 3))
    out, text = ("unet", OUTPUT, (8, 6)), ("text_encoder", TEXT, (8, 6))
    each = [(*linear, {}), (*out, {"alpha": 1.0}), (*conv, {}), (*conv2, {"use_tucker": True}), (*text, {"alpha": 3.0})]
    dora = [(*wide_linear, {"weight_decompose": True}), (*conv3, {"weight_decompose": True, "wd_on_out": False})]
    write_lycoris("lycoris_lora", LoConModule, plain, [*each, *dora]).save()
    write_lycoris("loha", LohaModule, kohya, [*each, *dora]).save()
    write_lycoris("loha_pt", LohaModule, plain, [*each]).save(".ckpt")
    lokr = [(*linear, {"factor": 2}), (*out, {"factor": 2, "alpha": 5.0, "decompose_both": True, "rank": 1}),
            (*conv, {"rank": 1, "factor": 2, "alpha": 3.0}), (*conv2, {"use_tucker": True, "rank": 1, "factor": 2}),
            ("unet", CONV_1X1, (8, 6, 1, 1), {"factor": 2, "rank": 1}), (*text, {"full_matrix": True, "alpha": 3.0}),
            (*wide_linear, {"weight_decompose": True, "factor": 4, "rank": 1}),
            (*conv3, {"weight_decompose": True, "wd_on_out": False, "full_matrix": True})]  # fmt: skip
    write_lycoris("lokr", LokrModule, kohya, lokr).save()

    file = Kohya("lycoris_full")
    for model, path, shape in [linear, conv, text]:
        module = FullModule(path, layer(model, path, shape))
        name = kohya[model] + path.replace(".", "_")
        diff, shift = numbers(*shape), numbers(shape[0])
        module.weight.data, module.bias.data = diff + module.org_weight, shift + module.org_bias[0]
        state = module.state_dict()
        assert torch.allclose(state["diff"], diff.double()), path
        file.tensors[f"{name}.diff"], file.tensors[f"{name}.diff_b"] = diff, shift
        assert set(state) == {"diff", "diff_b"}
        expect(file.case, model, path, lambda scale, diff=diff: scale * wide(diff), wide(shift))
    module = NormModule("norm", nn.GroupNorm(2, 6))
    base("unet", NORM, (6,))
    module.w_norm.data, module.b_norm.data = numbers(6), numbers(6)
    for role, tensor in module.state_dict().items():
        file.tensors[f"lora_unet_{NORM.replace('.', '_')}.{role}"] = tensor
    expect(file.case, "unet", NORM, lambda scale: scale * wide(module.w_norm.detach()), wide(module.b_norm.detach()))
    file.tensors[f"lora_unet_{CONV_1X1.replace('.', '_')}.diff_b"] = numbers(8)
    expect(file.case, "unet", CONV_1X1, lambda scale: numpy.zeros((8, 6, 1, 1)),
           wide(file.tensors[f"lora_unet_{CONV_1X1.replace('.', '_')}.diff_b"]))  # fmt: skip
    base("unet", CONV_1X1, (8, 6, 1, 1))
    file.save()


# cloneofsimo and learned words


def write_cloneofsimo():
    """Two blocks and one layer of text. His program listed each block's feed-forward layer between the attentions."""
    blocks = [BLOCK, "mid_block.attentions.0.transformer_blocks.0"]
    width, text_width = 4, 6
    tails = {"attn1.to_q": (4, 4), "attn1.to_k": (4, 4), "attn1.to_v": (4, 4), "attn1.to_out.0": (4, 4), "ff.net.0.proj": (32, 4),
             "attn2.to_q": (4, 4), "attn2.to_k": (4, 6), "attn2.to_v": (4, 6), "attn2.to_out.0": (4, 4)}  # fmt: skip
    for case, has_ff in {"cloneofsimo": True, "cloneofsimo_pt": False}.items():
        unet_pairs, text_pairs = [], []
        for block in blocks:
            for tail, shape in tails.items():
                if tail == "ff.net.0.proj" and not has_ff:
                    continue
                up, down = numbers(shape[0], 2).half(), numbers(2, shape[1]).half()
                unet_pairs.append((up, down))
                path = f"{block}.{tail}"
                # Other cases have other shapes for the first block's layers.
                expect_product(case, "small_unet", path, base("small_unet", path, shape).shape, up, down)
        for name in ["k_proj", "v_proj", "q_proj", "out_proj"]:
            up, down = numbers(text_width, 2).half(), numbers(2, text_width).half()
            text_pairs.append((up, down))
            path = f"text_model.encoder.layers.0.self_attn.{name}"
            expect_product(case, "small_text_encoder", path, base("small_text_encoder", path, (6, 6)).shape, up, down)
        words = {"<s1>": numbers(text_width).half(), "<s2>": numbers(text_width).half()}
        for word, vector in words.items():
            changes[f"{case}|word|{word}"] = vector.double()[None]
        if has_ff:
            tensors = {}
            for model, pairs in {"unet": unet_pairs, "text_encoder": text_pairs}.items():
                for i, (up, down) in enumerate(pairs):
                    tensors[f"{model}:{i}:up"], tensors[f"{model}:{i}:down"] = up, down
            metadata = {"unet": '["CrossAttention", "Attention", "GEGLU"]', "text_encoder": '["CLIPAttention"]',
                        **{f"unet:{i}:rank": "2" for i in range(len(unet_pairs))}, "<s1>": "<embed>", "<s2>": "<embed>"}  # fmt: skip
            save_file({**tensors, **words}, OUT / f"{case}.safetensors", metadata)
        else:
            torch.save([half for pair in unet_pairs for half in pair], OUT / f"{case}.pt")
            torch.save([half for pair in text_pairs for half in pair], OUT / f"{case}.text_encoder.pt")
            torch.save(words, OUT / f"{case}.ti.pt")


def write_words():
    def expected(case, word, vectors):
        changes[f"{case}|word|{word}"] = vectors.double().reshape(-1, vectors.shape[-1])
        return vectors

    a1111 = expected("a1111_word", "my cat", numbers(3, 6))
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": nn.Parameter(a1111)}, "name": "my cat", "step": 1500,
                "sd_checkpoint": None, "sd_checkpoint_name": None}, OUT / "a1111_word.pt")  # fmt: skip
    save_file({"emb_params": expected("a1111_tensor", "a1111_tensor", numbers(2, 6))}, OUT / "a1111_tensor.safetensors")
    torch.save({"<cat>": expected("learned_embeds", "<cat>", numbers(6))}, OUT / "learned_embeds.bin")
    save_file({"<dog.1>": expected("learned_word", "<dog.1>", numbers(1, 6))}, OUT / "learned_word.safetensors")
    file = Kohya("bundle")
    file.lora("unet", ATTENTION, (8, 6), 2, alpha=1.0)
    file.tensors["bundle_emb.a.b.string_to_param.*"] = expected("bundle", "a.b", numbers(2, 6))
    file.tensors["bundle_emb.other.emb_params"] = expected("bundle", "other", numbers(1, 6))
    file.save()


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    write_peft()
    write_old_diffusers()
    write_kohya()
    write_all_lycoris()
    write_cloneofsimo()
    write_words()
    save_file({**bases, **changes}, OUT / "changes.safetensors")


if __name__ == "__main__":
    main()

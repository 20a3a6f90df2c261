"""A second map from Diffusers' layout to the original one, key by key, written apart from the program's: for tests."""

import io
import json
import pickle
import re
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
UNET_ENDS = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
             "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0", "conv_out": "out.2"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_key(key, layers):
    """`layers`: the config's layers_per_block, one number."""
    for theirs, ours in UNET_ENDS.items():
        if key.startswith(theirs + "."):
            return ours + key[len(theirs):]
    middle = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key)
    if middle:
        kind, number, rest = middle.groups()
        place = 1 if kind == "attentions" else 2 * int(number)
        return f"middle_block.{place}.{resnet_rest(rest) if kind == 'resnets' else rest}"
    side, block, kind, number, rest = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", key).groups()
    block, number = int(block), int(number)
    start = 1 + block * (layers + 1) if side == "down" else block * (layers + 1)
    blocks = "input_blocks" if side == "down" else "output_blocks"
    if kind == "resnets":
        return f"{blocks}.{start + number}.0.{resnet_rest(rest)}"
    if kind == "attentions":
        return f"{blocks}.{start + number}.1.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{start + layers}.0.op.{rest.removeprefix('conv.')}"
    return f"output_blocks.{start + layers}.UPSAMPLER.{rest}"  # 1, or 2 behind an attention


def resnet_rest(rest):
    part, leaf = rest.rsplit(".", 1)
    return f"{RESNET[part]}.{leaf}"


def unet_keys(keys, layers):
    keys = list(keys)
    originals = {key: unet_key(key, layers) for key in keys}
    taken = {".".join(name.split(".")[:3]) for name in originals.values()}
    for key, name in originals.items():
        if ".UPSAMPLER." in name:
            block = name.split(".UPSAMPLER.")[0]
            originals[key] = name.replace("UPSAMPLER", "2" if f"{block}.1" in taken else "1")
    return originals


def vae_key(key, blocks):
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    if ".mid_block.attentions.0." in key:
        side, rest = key.split(".mid_block.attentions.0.")
        part, leaf = rest.rsplit(".", 1)
        return f"{side}.mid.attn_1.{VAE_ATTENTION[part]}.{leaf}"
    key = key.replace("down_blocks", "down").replace("downsamplers.0", "downsample")
    key = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{blocks - 1 - int(m[1])}", key).replace("upsamplers.0", "upsample")
    return key.replace(".resnets.", ".block.")


def open_clip_key(key):
    for theirs, ours in [("text_model.encoder.layers", "transformer.resblocks"), ("self_attn", "attn"),
                         ("text_model.final_layer_norm", "ln_final"), ("layer_norm", "ln_"),
                         ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
                         ("text_model.embeddings.token_embedding", "token_embedding"),
                         ("text_model.embeddings.position_embedding.weight", "positional_embedding")]:
        key = key.replace(theirs, ours)
    return key


def originals(part, keys, config, open_clip=False):
    """{Diffusers' key: original key}, with the prefix; of q, k and v of an OpenCLIP attention all three's in_proj."""
    if part == "unet":
        return {k: "model.diffusion_model." + v for k, v in unet_keys(keys, config["layers_per_block"]).items()}
    if part == "vae":
        return {k: "first_stage_model." + vae_key(k, len(config["block_out_channels"])) for k in keys}
    if not open_clip:
        return {k: "cond_stage_model.transformer." + k for k in keys}
    return {k: "cond_stage_model.model." + re.sub(r"[qkv]_proj\.(weight|bias)$", r"in_proj_\1", open_clip_key(k))
            for k in keys}


def original_tensors(part, tensors, config, open_clip=False, cat=np.concatenate):
    """`tensors` by Diffusers' names, in the original layout; `cat` joins tensors of their kind."""
    names = originals(part, tensors, config, open_clip)
    made, joined = {}, {}
    for key, tensor in tensors.items():
        name = names[key]
        if re.search(r"in_proj_(weight|bias)$", name):
            joined.setdefault(name, {})[re.search(r"([qkv])_proj", key)[1]] = tensor
        elif part == "vae" and ".attn_1." in name and tensor.ndim == 2:
            made[name] = tensor.reshape(*tensor.shape, 1, 1)
        else:
            made[name] = tensor
    return made | {name: cat([thirds[x] for x in "qkv"]) for name, thirds in joined.items()}


def read_folder(folder, load):
    """{part: (config, tensors)} of a model folder; `load` reads a safetensors file. Text encoders with `text_model.`."""
    parts = {}
    for part, stem in [("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model")]:
        tensors = load(Path(folder) / part / f"{stem}.safetensors")
        if part == "text_encoder":
            tensors = {"text_model." + key.removeprefix("text_model."): value for key, value in tensors.items()}
        parts[part] = (json.loads((Path(folder) / part / "config.json").read_text()), tensors)
    return parts


def single_file_tensors(folder, load, cat=np.concatenate):
    made = {}
    for part, (config, tensors) in read_folder(folder, load).items():
        open_clip = part == "text_encoder" and config["hidden_act"] == "gelu"
        made |= original_tensors(part, tensors, config, open_clip, cat)
    return made


def write_ckpt(path, tensors, more=None, nested=True):
    """numpy arrays as torch.save(..., protocol 2) lays them out, without torch: storages begin at multiples of 64."""
    arrays = []
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils")}

    def stand_in(module, name):  # pickled by its name alone
        kind = type(name, (), {"__module__": module})
        setattr(modules[module], name, kind)
        return kind

    rebuild = stand_in("torch._utils", "_rebuild_tensor_v2")
    kinds = {"float16": stand_in("torch", "HalfStorage"), "float32": stand_in("torch", "FloatStorage"),
             "int64": stand_in("torch", "LongStorage")}

    class Storage:
        def __init__(self, array):
            self.array = array

    class Tensor:
        def __init__(self, array):
            self.array = np.ascontiguousarray(array)

        def __reduce__(self):
            strides = tuple(s // self.array.itemsize for s in self.array.strides)
            return rebuild, (Storage(self.array), 0, self.array.shape, strides, False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            arrays.append(value.array)
            return "storage", kinds[str(value.array.dtype)], str(len(arrays) - 1), "cpu", value.array.size

    state = OrderedDict((key, Tensor(value)) for key, value in tensors.items())
    document = {**(more or {}), "state_dict": state} if nested else state
    out = io.BytesIO()
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        Pickler(out, protocol=2).dump(document)
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", out.getvalue())
        archive.writestr("archive/byteorder", "little")
        for i, array in enumerate(arrays):
            info = zipfile.ZipInfo(f"archive/data/{i}")
            begin = archive.fp.tell() + 30 + len(info.filename) + 4
            padding = -begin % 64
            info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
            archive.writestr(info, array.tobytes())

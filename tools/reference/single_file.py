"""What Diffusers' conversion makes of every key of SD 1.5 and SD 2.1 files in the original layout.

    python tools/reference/single_file.py        # writes tests/data/single_file/*.txt

Made with torch 2.11.0, diffusers 0.42.1, transformers 5.23.0. The original keys are those of tests/single_file_support.py;
the conversion is the peer's: every tensor is one number, expanded to its real shape, so that it can be told where each
went. All keys of tests/data/keys_*.txt must come out of it, in their shapes. One line per module of the original file:
its name, the peer's, and the ends of the tensors' names (weight, bias); for in_proj the three modules that it becomes.
"""

import pathlib
import re
import sys
import types

import torch
from diffusers.loaders import single_file_utils as peer

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"
sys.path.insert(0, str(ROOT / "tests"))

import single_file_support as support  # noqa: E402


def shapes(name):
    lines = (DATA / f"keys_{name}.txt").read_text().splitlines()
    return {key: [int(n) for n in shape.strip("[]").split("x")] for key, shape in (line.split("\t") for line in lines)}


def numbered(part, name, config, open_clip):
    """(file, numbers): the file's tensors in the original layout, and which number each name has."""
    tensors = {key: torch.zeros(1).expand(shape) for key, shape in shapes(name).items()}
    cat = lambda thirds: torch.zeros(1).expand(3 * thirds[0].shape[0], *thirds[0].shape[1:])  # noqa: E731
    laid_out = {}
    for key, tensor in support.original_tensors(part, tensors, config, open_clip, cat).items():
        if part == "vae" and ".attn_1." in key and key.endswith("weight") and ".norm." not in key:
            tensor = torch.zeros(1).expand(*tensor.shape[:2], 1, 1)
        laid_out[key] = tensor
    numbers = {key: i for i, key in enumerate(laid_out)}
    return {key: torch.full((1,), float(numbers[key])).expand(t.shape) for key, t in laid_out.items()}, numbers


def converted(part, name, config, open_clip=False):
    file, numbers = numbered(part, name, config, open_clip)
    if part == "unet":
        out = peer.convert_ldm_unet_checkpoint(file, {"layers_per_block": 2})
    elif part == "vae":
        out = peer.convert_ldm_vae_checkpoint(file, config)
    elif not open_clip:
        out = peer.convert_ldm_clip_checkpoint(file)
    else:
        model = types.SimpleNamespace(config=types.SimpleNamespace(hidden_size=config["hidden_size"]))
        out = peer.convert_open_clip_checkpoint(model, file)
    wanted = shapes(name)
    assert {k: list(v.shape) for k, v in out.items()} == wanted, set(out) ^ set(wanted)
    by_number = {i: key for key, i in numbers.items()}
    return [(by_number[int(out[key].flatten()[0])], key) for key in wanted]


def module_lines(pairs):
    modules = {}
    for original, key in pairs:
        joined = re.fullmatch(r"(.*\.in_proj)_(weight|bias)", original)
        module, leaf = joined.groups() if joined else original.rsplit(".", 1)
        if original.endswith(".positional_embedding"):
            module, leaf = original, "weight"
        theirs, ends = modules.setdefault(module, ([], []))
        theirs += [key.rsplit(".", 1)[0]] if key.rsplit(".", 1)[0] not in theirs else []
        ends += [leaf] if leaf not in ends else []
    return [f"{module} {','.join(theirs)} {','.join(ends)}" for module, (theirs, ends) in modules.items()]


def write():
    config = {"layers_per_block": 2, "block_out_channels": [128, 256, 512, 512], "down_block_types": [0] * 4,
              "up_block_types": [0] * 4, "hidden_size": 1024}
    unet = converted("unet", "sd15_unet", config)
    assert unet == converted("unet", "sd21_unet", config)  # they differ in shapes alone
    clip = converted("text_encoder", "sd15_text_encoder", config)
    assert all(original == "cond_stage_model.transformer." + key for original, key in clip)  # no list is needed
    lists = {"unet": unet, "vae": converted("vae", "sd_vae", config),
             "open_clip": converted("text_encoder", "sd21_text_encoder", config, open_clip=True)}
    for name, pairs in lists.items():
        (DATA / "single_file" / f"{name}.txt").write_text("\n".join(module_lines(pairs)) + "\n")


if __name__ == "__main__":
    write()

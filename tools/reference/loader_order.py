"""Batches, crops and pixels as torch's DataLoader, accelerate and torchvision make them.

    python tools/reference/loader_order.py tests/data/loader_order.json

torch 2.11.0, torchvision 0.26.0, accelerate 1.15.0, Pillow 13.0.0. Every case is a seed, the sizes of the pictures and
the batches of some epochs; between two batches one integer is drawn, as a training step draws its own.
"""

import json
import sys

import torch
from accelerate import Accelerator
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

MIXED = [[96, 80], [64, 64], [64, 100], [128, 64], [70, 71]]  # width, height
SQUARE = [[64, 64]] * 3
HALVES = [[64, 65], [64, 67], [69, 64], [71, 64]]  # half of the room above and below is no whole number
SIDE = 64


class Pictures(Dataset):
    """What the script's DreamBoothDataset does, keeping the place of each cut instead of its pixels."""

    def __init__(self, instances, classes, center):
        self.instances, self.classes, self.center = instances, classes, center
        self.resize = transforms.Resize(SIDE, interpolation=transforms.InterpolationMode.LANCZOS)

    def __len__(self):
        return max(len(self.instances), len(self.classes))

    def cut(self, sizes, example, is_class):
        index = example % len(sizes)
        picture = self.resize(Image.effect_noise(tuple(sizes[index]), 50).convert("RGB"))
        if self.center:
            width, height = picture.size
            top, left = round((height - SIDE) / 2.0), round((width - SIDE) / 2.0)
            cut = picture.crop((left, top, left + SIDE, top + SIDE))
            assert transforms.CenterCrop(SIDE)(picture).tobytes() == cut.tobytes()
        else:
            top, left, *_ = transforms.RandomCrop.get_params(picture, (SIDE, SIDE))
        return [int(is_class), index, int(top), int(left)]

    def __getitem__(self, example):
        instance = self.cut(self.instances, example, False)
        return instance, self.cut(self.classes, example, True) if self.classes else None


def collate(examples):
    return [e[0] for e in examples] + [e[1] for e in examples if e[1] is not None]


def case(name, instances, classes=(), batch=1, center=False, seed=0, epochs=2):
    torch.manual_seed(seed)
    loader = Accelerator(cpu=True).prepare(
        DataLoader(Pictures(instances, list(classes), center), batch_size=batch, shuffle=True, collate_fn=collate)
    )
    result = []
    for _ in range(epochs):
        batches = []
        for cuts in loader:
            batches.append({"cuts": cuts, "last": loader.end_of_dataloader, "step": int(torch.randint(0, 1 << 30, (1,)))})
        result.append(batches)
    return {"name": name, "instances": instances, "classes": list(classes), "batch": batch, "center": center, "seed": seed,
            "epochs": result}  # fmt: skip


def main():
    to_pixels = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    ramp = Image.frombytes("RGB", (256, 1), bytes(v for b in range(256) for v in (b, 255 - b, b)))
    cases = [
        case("one at a time", MIXED),
        case("short last batch", MIXED, batch=2, seed=7),
        case("center crop", MIXED + HALVES, batch=2, center=True, seed=1),
        case("squares draw no crop", SQUARE, batch=2, seed=2),
        case("more classes than instances", MIXED[:2], MIXED, batch=2, seed=3),
        case("more instances than classes", MIXED, [[64, 90], [80, 64]], batch=3, seed=4),
        case("one batch for all", MIXED, batch=8, seed=4294967295),
    ]
    with open(sys.argv[1], "w") as file:
        json.dump({"cases": cases, "pixels": to_pixels(ramp)[:, 0].tolist()}, file)
        file.write("\n")


if __name__ == "__main__":
    main()

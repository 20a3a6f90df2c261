"""Runs that are compared, as command lines: what the scenarios of both recipes share; imports no torch."""

import json
import pathlib
import shutil
from dataclasses import dataclass, field
from typing import ClassVar

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Scenario:
    """Flags of one of Diffusers' scripts. Folders are written as {names}, filled in by a `Workspace`."""

    DATA_FLAG: ClassVar[str]
    VALUES: ClassVar[dict[str, str]]

    flags: list[str]
    pictures: str
    model: str = "{base}"
    steps: int | None = 8
    common: dict[str, str] = field(default_factory=dict)

    def command(self, places: dict[str, str], output_dir) -> list[str]:
        """All flags, with the folders of `places` filled in."""
        values = {**self.VALUES, **self.common}
        if self.steps is not None:
            values["max_train_steps"] = str(self.steps)
        flags = [
            f"--pretrained_model_name_or_path={self.model}",
            f"--{self.DATA_FLAG}={self.pictures}",
            f"--output_dir={output_dir}",
            "--seed=0",
            *(f"--{name}={value}" for name, value in values.items()),
            *self.flags,
        ]
        return [flag.format(**places) for flag in flags]


# What `lorikeet` has and the scripts lack, as values of peft.LoraConfig.
ALGORITHMS = {"dora": {"use_dora": True}, "pissa": {"init_lora_weights": "pissa"}}


def lora_config_changes(flags):
    """The scripts' own flags, and what else than they say goes into their LoraConfig: --algo and --target_modules A B."""
    rest, changes, targets = [], {}, None
    for flag in flags:
        if flag.startswith("--algo="):
            changes.update(ALGORITHMS[flag.partition("=")[2]])
        elif flag == "--target_modules":
            targets = changes["target_modules"] = []
        elif targets is not None and not flag.startswith("--"):
            targets.append(flag)
        else:
            targets = None
            rest.append(flag)
    return rest, changes


def change_lora_config(flags):
    """Makes peft.LoraConfig say more than a script does; returns the script's own flags."""
    import peft

    rest, changes = lora_config_changes(flags)
    original = peft.LoraConfig

    def config(**values):
        if values.get("init_lora_weights") != "gaussian":  # not the script's, but a reader's of its file
            return original(**values)
        # The text encoder's targets are no matter of --target_modules.
        more = {k: v for k, v in changes.items() if k != "target_modules" or "q_proj" not in values["target_modules"]}
        return original(**{**values, **more})

    if changes:
        peft.LoraConfig = config
    return rest


def diffusers_spelling(name):
    """PEFT's names of a LoRA's tensors in Diffusers' words; `lorikeet` writes DoRA in PEFT's dialect."""
    lora = "lora_linear_layer" if name.startswith("text_encoder.") else "lora"
    name = name.replace(".lora_A.weight", f".{lora}.down.weight").replace(".lora_B.weight", f".{lora}.up.weight")
    head, found, _ = name.partition(".lora_magnitude_vector")
    return f"{head}.{lora}.magnitude" if found else name


def trained_half(name, value):
    """What PiSSA trained, of a matrix of the LoRA that is written: the difference to what it began with."""
    return value[: len(value) // 2] if ".down." in name else value[:, : value.shape[1] // 2]


def batch(size, accumulation=1, **more):
    values = {"train_batch_size": str(size), **{name: str(value) for name, value in more.items()}}
    if accumulation > 1:
        values["gradient_accumulation_steps"] = str(accumulation)
    return values


class Workspace:
    """Folders the scenarios name: the embedded model, a v-prediction twin of it, and the data of a recipe."""

    SCENARIOS: dict[str, Scenario]
    DATA: dict[str, pathlib.Path]

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.places = {"base": str(ROOT / "models/lorikeet-base"), "base_v": str(self._v_prediction_twin())}
        self.places.update({name: str(path) for name, path in self.DATA.items()})

    def _v_prediction_twin(self):
        base, twin = ROOT / "models/lorikeet-base", self.folder / "base_v"
        twin.mkdir(exist_ok=True)
        for entry in base.iterdir():
            if entry.name != "scheduler" and not (twin / entry.name).exists():
                (twin / entry.name).symlink_to(entry)
        (twin / "scheduler").mkdir(exist_ok=True)
        config = json.loads((base / "scheduler/scheduler_config.json").read_text())
        config["prediction_type"] = "v_prediction"
        (twin / "scheduler/scheduler_config.json").write_text(json.dumps(config))
        return twin

    def command(self, name, output_dir, places=None) -> list[str]:
        """The flags of scenario `name`, writing to a fresh `output_dir`."""
        for stale in (pathlib.Path(output_dir), pathlib.Path(f"{output_dir}-classes")):
            shutil.rmtree(stale, ignore_errors=True)
        places = {**self.places, **(places or {}), "output": str(output_dir)}
        return self.SCENARIOS[name].command(places, output_dir)

    def written_command(self, name) -> list[str]:
        """The flags of scenario `name` with the {names} left in place, to be kept in a trace."""
        places = {key: f"{{{key}}}" for key in [*self.places, "output"]}
        return self.SCENARIOS[name].command(places, "{output}")


def draw_picture(index, width, height):
    """Seven ellipses and lines on a ground, all of them coloured by `index`."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), (40 * index, 200 - 30 * index, 90))
    pen = ImageDraw.Draw(image)
    for k in range(7):
        left, top = k * width / 8, (k * 5 % 7) * height / 9
        pen.ellipse([left, top, left + width / 4, top + height / 3], fill=(255 - 35 * k, 40 * index, 36 * k))
        pen.line([0, k * height / 7, width, height - k * height / 9], fill=(30 * k, 255 - 30 * k, 60 * index))
    return image

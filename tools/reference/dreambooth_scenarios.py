"""The DreamBooth runs that are compared, as command lines; imports no torch.

Every scenario is a list of flags of Diffusers' train_dreambooth_lora.py. Folders are written as {names}, filled in by
`Workspace`. The small pictures of many sizes and modes were drawn by

    python tools/reference/dreambooth_scenarios.py tests/data/dreambooth_traces/pictures
"""

import json
import pathlib
import shutil
import sys
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRACES = ROOT / "tests/data/dreambooth_traces"


@dataclass(frozen=True)
class Scenario:
    flags: list[str]
    pictures: str = "{subject}"
    model: str = "{base}"
    steps: int | None = 8
    common: dict[str, str] = field(default_factory=dict)

    def command(self, places: dict[str, str], output_dir) -> list[str]:
        """All flags, with the folders of `places` filled in."""
        values = {"rank": "1", "learning_rate": "1e-3", "lr_warmup_steps": "0", "resolution": "64", "train_batch_size": "1"}
        values["instance_prompt"] = "sks cat face"
        values.update(self.common)
        if self.steps is not None:
            values["max_train_steps"] = str(self.steps)
        flags = [
            f"--pretrained_model_name_or_path={self.model}",
            f"--instance_data_dir={self.pictures}",
            f"--output_dir={output_dir}",
            "--seed=0",
            *(f"--{name}={value}" for name, value in values.items()),
            *self.flags,
        ]
        return [flag.format(**places) for flag in flags]


def batch(size, accumulation=1, **more):
    values = {"train_batch_size": str(size), **{name: str(value) for name, value in more.items()}}
    if accumulation > 1:
        values["gradient_accumulation_steps"] = str(accumulation)
    return values


PRIOR = ["--with_prior_preservation", "--class_prompt=cat face", "--class_data_dir={classes}", "--num_class_images=6"]
TEXT_ENCODER = ["--train_text_encoder"]

SCENARIOS = {
    "batch_1": Scenario([], common=batch(1, rank=2), steps=10),
    "accumulation": Scenario([], common=batch(2, 2), steps=7),
    "cosine": Scenario(["--lr_scheduler=cosine"], common=batch(1, lr_warmup_steps=3), steps=10),
    "clipping": Scenario(["--max_grad_norm=0.01"]),
    "center_crop": Scenario(["--center_crop"], "{mixed}", common=batch(2)),
    "random_crop": Scenario([], "{mixed}", common=batch(2)),
    "prior_preservation": Scenario([*PRIOR, "--prior_loss_weight=0.7"], common=batch(2), steps=7),
    "text_encoder": Scenario(TEXT_ENCODER, common=batch(2, 2), steps=7),
    "pre_compute_text_embeddings": Scenario(["--pre_compute_text_embeddings"]),
    "attention_mask": Scenario(["--pre_compute_text_embeddings", "--text_encoder_use_attention_mask"], steps=4),
    "gradient_checkpointing": Scenario(["--gradient_checkpointing"], common=batch(1, rank=2), steps=10),
    "dropout": Scenario([*TEXT_ENCODER, "--lora_dropout=0.1"]),
    "dropout_checkpointing": Scenario([*TEXT_ENCODER, "--lora_dropout=0.1", "--gradient_checkpointing"]),
    "bf16": Scenario(["--mixed_precision=bf16"]),
    "bf16_text_encoder": Scenario([*TEXT_ENCODER, "--mixed_precision=bf16"]),
    "linear": Scenario(["--lr_scheduler=linear"], common=batch(1, lr_warmup_steps=2), steps=6),
    "cosine_with_restarts": Scenario(
        ["--lr_scheduler=cosine_with_restarts", "--lr_num_cycles=2"], common=batch(1, lr_warmup_steps=1), steps=8
    ),
    "polynomial": Scenario(["--lr_scheduler=polynomial", "--lr_power=2.0"], common=batch(1, lr_warmup_steps=2), steps=6),
    "constant_with_warmup": Scenario(
        ["--lr_scheduler=constant_with_warmup"], common=batch(1, lr_warmup_steps=4), steps=6
    ),
    "scale_lr": Scenario(["--scale_lr"], common=batch(2, 2, learning_rate="2.5e-4"), steps=4),
    "adam": Scenario(
        ["--adam_beta1=0.8", "--adam_beta2=0.95", "--adam_weight_decay=0.3", "--adam_epsilon=1e-4"], steps=6
    ),
    "v_prediction": Scenario([], model="{base_v}"),
    "bilinear": Scenario(["--image_interpolation_mode=bilinear"], "{mixed}", steps=6),
    "nearest_exact": Scenario(["--image_interpolation_mode=nearest_exact"], "{mixed}", steps=6),
    "epochs": Scenario(["--num_train_epochs=2", "--lr_scheduler=linear"], common=batch(2), steps=None),
    "tokenizer_max_length": Scenario(
        ["--tokenizer_max_length=9"], common={"instance_prompt": "a very long prompt about sks cat face, cut at some word"}
    ),
    "odd_latents": Scenario([], "{mixed}", common={"resolution": "72"}, steps=4),
    "everything": Scenario(
        [*TEXT_ENCODER, *PRIOR, "--lora_dropout=0.05", "--lr_scheduler=cosine", "--max_grad_norm=0.05"],
        "{mixed}",
        common=batch(4, 2, lr_warmup_steps=2),
        steps=6,
    ),
    "class_generation": Scenario(
        [
            "--with_prior_preservation",
            "--class_prompt=cat face",
            "--class_data_dir={output}-classes",
            "--num_class_images=3",
            "--sample_batch_size=2",
            "--prior_generation_precision=fp32",
        ],
        steps=3,
    ),
}


class Workspace:
    """Folders the scenarios name: the embedded model, a v-prediction twin of it, and the pictures."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.places = {
            "base": str(ROOT / "models/lorikeet-base"),
            "base_v": str(self._v_prediction_twin()),
            "subject": str(ROOT / "examples/demo-subject"),
            "mixed": str(TRACES / "pictures"),
            "classes": str(TRACES / "pictures"),
        }

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
        return SCENARIOS[name].command({**self.places, **(places or {}), "output": str(output_dir)}, output_dir)


def draw_pictures(folder):
    """Six small pictures: wide, tall, smaller than 64, palette, transparent, grey, and one turned by EXIF."""
    from PIL import Image, ImageDraw

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def picture(index, width, height):
        image = Image.new("RGB", (width, height), (40 * index, 200 - 30 * index, 90))
        pen = ImageDraw.Draw(image)
        for k in range(7):
            left, top = k * width / 8, (k * 5 % 7) * height / 9
            pen.ellipse([left, top, left + width / 4, top + height / 3], fill=(255 - 35 * k, 40 * index, 36 * k))
            pen.line([0, k * height / 7, width, height - k * height / 9], fill=(30 * k, 255 - 30 * k, 60 * index))
        return image

    picture(0, 96, 80).save(folder / "0-wide.png")
    picture(1, 64, 64).quantize(16).save(folder / "1-palette.png")
    turned = picture(2, 64, 100)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "2-turned.jpg", exif=exif, quality=90)
    transparent = picture(3, 128, 64)
    transparent.putalpha(Image.linear_gradient("L").resize((128, 64)))
    transparent.save(folder / "3-transparent.png")
    picture(4, 70, 91).convert("L").save(folder / "4-grey.jpg", quality=85)
    picture(5, 48, 60).save(folder / "5-small.png")


if __name__ == "__main__":
    draw_pictures(sys.argv[1])

"""The DreamBooth runs that are compared, as command lines; imports no torch.

Every scenario is a list of flags of Diffusers' train_dreambooth_lora.py. Folders are written as {names}, filled in by
`Workspace`. The small pictures of many sizes and modes were drawn by

    python tools/reference/dreambooth_scenarios.py tests/data/dreambooth_traces/pictures
"""

import pathlib
import sys
from dataclasses import dataclass
from typing import ClassVar

import training_scenarios
from training_scenarios import ROOT, batch, draw_picture

TRACES = ROOT / "tests/data/dreambooth_traces"


@dataclass(frozen=True)
class Scenario(training_scenarios.Scenario):
    DATA_FLAG: ClassVar[str] = "instance_data_dir"
    VALUES: ClassVar[dict[str, str]] = {
        "rank": "1",
        "learning_rate": "1e-3",
        "lr_warmup_steps": "0",
        "resolution": "64",
        "train_batch_size": "1",
        "instance_prompt": "sks cat face",
    }

    pictures: str = "{subject}"


PRIOR = ["--with_prior_preservation", "--class_prompt=cat face", "--class_data_dir={classes}", "--num_class_images=6"]
TEXT_ENCODER = ["--train_text_encoder"]
CONVOLUTIONS = ["--target_modules", "to_v", "proj_in", "conv1", "conv_shortcut", "downsamplers.0.conv", "conv_out"]

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
    "dora": Scenario([*TEXT_ENCODER, "--algo=dora"], common=batch(1, rank=2)),
    "dora_dropout": Scenario([*TEXT_ENCODER, "--algo=dora", "--lora_dropout=0.1", "--gradient_checkpointing"], steps=6),
    "dora_convolutions": Scenario(["--algo=dora", *CONVOLUTIONS], steps=6),
    "dora_bf16": Scenario(["--algo=dora", "--mixed_precision=bf16"]),
    "pissa": Scenario([*TEXT_ENCODER, "--algo=pissa"], common=batch(1, rank=2)),
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


class Workspace(training_scenarios.Workspace):
    SCENARIOS = SCENARIOS
    DATA = {"subject": ROOT / "examples/demo-subject", "mixed": TRACES / "pictures", "classes": TRACES / "pictures"}


def draw_pictures(folder):
    """Six small pictures: wide, tall, smaller than 64, palette, transparent, grey, and one turned by EXIF."""
    from PIL import Image

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    draw_picture(0, 96, 80).save(folder / "0-wide.png")
    draw_picture(1, 64, 64).quantize(16).save(folder / "1-palette.png")
    turned = draw_picture(2, 64, 100)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "2-turned.jpg", exif=exif, quality=90)
    transparent = draw_picture(3, 128, 64)
    transparent.putalpha(Image.linear_gradient("L").resize((128, 64)))
    transparent.save(folder / "3-transparent.png")
    draw_picture(4, 70, 91).convert("L").save(folder / "4-grey.jpg", quality=85)
    draw_picture(5, 48, 60).save(folder / "5-small.png")


if __name__ == "__main__":
    draw_pictures(sys.argv[1])

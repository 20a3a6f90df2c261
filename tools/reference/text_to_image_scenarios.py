"""The text-to-image runs that are compared, as command lines; imports no torch.

Every scenario is a list of flags of Diffusers' train_text_to_image_lora.py. Folders are written as {names}, filled in by
`Workspace`. The small pictures of many sizes, modes and formats, and the parquet files, were made by

    python tools/reference/text_to_image_scenarios.py tests/data/text_to_image_traces
"""

import json
import pathlib
import shutil
import sys
from dataclasses import dataclass
from typing import ClassVar

import training_scenarios
from training_scenarios import ROOT, batch, draw_picture

TRACES = ROOT / "tests/data/text_to_image_traces"


@dataclass(frozen=True)
class Scenario(training_scenarios.Scenario):
    DATA_FLAG: ClassVar[str] = "train_data_dir"
    VALUES: ClassVar[dict[str, str]] = {
        "rank": "1",
        "learning_rate": "1e-3",
        "lr_warmup_steps": "0",
        "resolution": "64",
        "train_batch_size": "2",
    }

    pictures: str = "{mixed}"
    # The script's clipping does nothing; ours clips unless it is told to do as the script does.
    compat_bugs: bool = True


@dataclass(frozen=True)
class NamedDataset(Scenario):
    """A local folder given as --dataset_name: the script reads parquet only so, `lorikeet` by --train_data_dir."""

    DATA_FLAG: ClassVar[str] = "dataset_name"


@dataclass(frozen=True)
class Defaults(Scenario):
    """Nothing but the size of the pictures said."""

    VALUES: ClassVar[dict[str, str]] = {"resolution": "64"}


CAPTION_LISTS = "{caption_lists}"
CROP_AND_FLIP = ["--random_flip"]

SCENARIOS = {
    "defaults": Defaults([], steps=3),
    "crop_and_flip": Scenario(CROP_AND_FLIP, common={"rank": "2"}, steps=10),
    "one_at_a_time": Scenario(CROP_AND_FLIP, common=batch(1), steps=10),
    "center_crop": Scenario(["--center_crop"]),
    "center_crop_and_flip": Scenario(["--center_crop", *CROP_AND_FLIP]),
    "snr_gamma": Scenario(["--snr_gamma=5.0"]),
    "snr_gamma_v_prediction": Scenario(["--snr_gamma=5.0"], model="{base_v}"),
    "noise_offset": Scenario(["--noise_offset=0.1"]),
    "v_prediction": Scenario([], model="{base_v}"),
    "prediction_type": Scenario(["--prediction_type=v_prediction"]),
    "prediction_type_epsilon": Scenario(["--prediction_type=epsilon", "--snr_gamma=2"], model="{base_v}", steps=6),
    "accumulation": Scenario(CROP_AND_FLIP, common=batch(2, 2), steps=6),  # 5 batches: groups of 2, 2, 1; two epochs
    "batch_3": Scenario(CROP_AND_FLIP, common=batch(3), steps=9),  # the fourth batch has one picture
    "large_batch": Scenario(CROP_AND_FLIP, common=batch(16), steps=4),
    "epochs": Scenario(["--num_train_epochs=2", "--lr_scheduler=linear"], common=batch(4, 2), steps=None),
    "constant": Scenario(["--lr_scheduler=constant"], common=batch(2, lr_warmup_steps=3), steps=6),
    "constant_with_warmup": Scenario(
        ["--lr_scheduler=constant_with_warmup"], common=batch(2, lr_warmup_steps=4), steps=6
    ),
    "linear": Scenario(["--lr_scheduler=linear"], common=batch(2, lr_warmup_steps=2), steps=6),
    "cosine": Scenario(["--lr_scheduler=cosine"], common=batch(2, lr_warmup_steps=3), steps=10),
    "cosine_with_restarts": Scenario(
        ["--lr_scheduler=cosine_with_restarts"], common=batch(2, lr_warmup_steps=1), steps=8
    ),
    "polynomial": Scenario(["--lr_scheduler=polynomial"], common=batch(2, lr_warmup_steps=2), steps=6),
    "caption_lists": Scenario(CROP_AND_FLIP, CAPTION_LISTS, common=batch(2), steps=10),
    "max_train_samples": Scenario(["--max_train_samples=3"], common=batch(1), steps=7),
    "max_train_samples_lists": Scenario(["--max_train_samples=4"], CAPTION_LISTS, steps=6),
    "scale_lr": Scenario(["--scale_lr"], common=batch(2, 2, learning_rate="2.5e-4"), steps=4),
    "adam": Scenario(
        ["--adam_beta1=0.8", "--adam_beta2=0.95", "--adam_weight_decay=0.3", "--adam_epsilon=1e-4"], steps=6
    ),
    "max_grad_norm": Scenario(["--max_grad_norm=1e9"], compat_bugs=False),
    "bf16": Scenario([*CROP_AND_FLIP, "--mixed_precision=bf16", "--noise_offset=0.05"], common=batch(1), steps=16),
    "bilinear": Scenario(["--image_interpolation_mode=bilinear"], steps=6),
    "nearest": Scenario(["--image_interpolation_mode=nearest"], steps=6),
    "gradient_checkpointing": Scenario([*CROP_AND_FLIP, "--gradient_checkpointing"], common={"rank": "2"}, steps=10),
    "dora": Scenario([*CROP_AND_FLIP, "--algo=dora"], common={"rank": "2"}),
    "pissa": Scenario([*CROP_AND_FLIP, "--algo=pissa"], common={"rank": "2"}),
    "odd_latents": Scenario(CROP_AND_FLIP, common={"resolution": "72"}, steps=4),
    "columns": Scenario(["--image_column=picture", "--caption_column=words"], "{columns}", steps=4),
    "sub_folders": Scenario(CROP_AND_FLIP, "{sub_folders}", steps=5),
    "parquet": NamedDataset(CROP_AND_FLIP, "{parquet}", steps=6),
    "everything": Scenario(
        [
            *CROP_AND_FLIP,
            "--snr_gamma=5",
            "--noise_offset=0.05",
            "--prediction_type=v_prediction",
            "--lr_scheduler=cosine",
            "--max_train_samples=5",
            "--image_interpolation_mode=bicubic",
            "--scale_lr",
            "--gradient_checkpointing",
        ],
        CAPTION_LISTS,
        common=batch(2, 2, lr_warmup_steps=2, learning_rate="3e-4"),
        steps=6,
    ),
}

LONG_CAPTION = "a very long description of a picture, " * 12
CAPTIONS = {
    "6-lossy.webp": "a red cat face",
    "0-wide.png": "A wide picture of circles",
    "3-transparent.png": "circles, half of them glass",
    "9-grey-alpha.png": "",
    "1-palette.png": "sixteen colours at most",
    "2-turned.jpg": "caf\u00e9 \u00e0 la cr\u00e8me, turned on its side \U0001f642",
    "5-small.png": LONG_CAPTION,
    "8-alpha.webp": "green  lines\tand\ncircles",
    "4-grey.jpg": "a grey picture",
    "7-large.jpg": "a large picture",
}
LISTS = {
    "2-turned.jpg": ["circles", "a turned picture", "circles on a ground"],
    "0-wide.png": ["a wide picture"],
    "6-lossy.webp": ["one", "two", "three", "four", "five", "six", "seven"],
    "4-grey.jpg": ["grey circles", "a grey picture"],
    "3-transparent.png": ["glass", "half of a picture", "", "transparent circles"],
    "5-small.png": ["a small picture", LONG_CAPTION],
}


class Workspace(training_scenarios.Workspace):
    SCENARIOS = SCENARIOS
    DATA = {"mixed": TRACES / "pictures", "parquet": TRACES / "parquet"}

    def __init__(self, folder):
        super().__init__(folder)
        lists = [{"file_name": name, "text": texts} for name, texts in LISTS.items()]
        self._data_set("caption_lists", {name: name for name in LISTS}, {"metadata.jsonl": as_json_lines(lists)})
        self._columns()
        self._sub_folders()

    def our_command(self, name, output_dir, places=None) -> list[str]:
        """The same run in the words of `lorikeet train text-to-image`."""
        flags = self.command(name, output_dir, places)
        flags = [flag.replace("--dataset_name=", "--train_data_dir=") for flag in flags]
        return [*flags, *(["--compat_bugs"] if SCENARIOS[name].compat_bugs else [])]

    def _data_set(self, name, pictures, metadata):
        """A folder of copies of the committed pictures ({new name: picture}) with its metadata files."""
        folder = self.folder / name
        for path, picture in pictures.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TRACES / "pictures" / picture, folder / path)
        for path, text in metadata.items():
            (folder / path).write_text(text, encoding="utf-8", newline="")
        self.places[name] = str(folder)

    def _columns(self):
        """Columns of other names, in a metadata.csv that names pictures in sub-folders; some pictures are not named."""
        pictures = {"b/wide.png": "0-wide.png", "a/grey.jpg": "4-grey.jpg", "small.png": "5-small.png", "a/x.png": "1-palette.png"}
        rows = ["n,words,picture_file_name", '1,"wide, with a comma",b/wide.png', "2,small,./small.png", '3,"said ""grey""",a/grey.jpg']
        self._data_set("columns", pictures, {"metadata.csv": "\r\n".join(rows) + "\r\n"})

    def _sub_folders(self):
        """Each sub-folder with its own metadata.jsonl."""
        pictures = {
            "a/large.jpg": "7-large.jpg",
            "a/small.png": "5-small.png",
            "b/2.png": "3-transparent.png",
            "b/10.webp": "6-lossy.webp",
            "b/unnamed.png": "0-wide.png",
        }
        first = [{"text": "small", "file_name": "small.png"}, {"text": "large", "file_name": "large.jpg"}]
        second = [{"text": "ten", "file_name": "10.webp"}, {"text": "two", "file_name": "2.png"}]
        metadata = {"a/metadata.jsonl": as_json_lines(first), "b/metadata.jsonl": as_json_lines(second)}
        self._data_set("sub_folders", pictures, metadata)


def as_json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def draw_pictures(folder):
    """Ten small pictures: wide, palette, turned by EXIF, transparent, grey, smaller than 64, two webp, a large one."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    draw_picture(0, 96, 80).save(folder / "0-wide.png")
    draw_picture(1, 64, 64).quantize(16).save(folder / "1-palette.png")  # of the right size: no crop is drawn
    turned = draw_picture(2, 64, 100)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "2-turned.jpg", exif=exif, quality=90)
    glass = Image.linear_gradient("L")
    transparent = draw_picture(3, 128, 64)
    transparent.putalpha(glass.resize((128, 64)))
    transparent.save(folder / "3-transparent.png")
    draw_picture(4, 70, 91).convert("L").save(folder / "4-grey.jpg", quality=85)
    draw_picture(5, 48, 60).save(folder / "5-small.png")
    draw_picture(6, 90, 67).save(folder / "6-lossy.webp", quality=80)
    draw_picture(0, 190, 131).save(folder / "7-large.jpg", quality=80)
    alpha = draw_picture(1, 65, 80)
    alpha.putalpha(glass.resize((65, 80)))
    alpha.save(folder / "8-alpha.webp", lossless=True)
    grey = draw_picture(2, 71, 64).convert("L")
    Image.merge("LA", (grey, glass.resize(grey.size))).save(folder / "9-grey-alpha.png")
    rows = [{"file_name": name, "text": text} for name, text in CAPTIONS.items()]
    (folder / "metadata.jsonl").write_text(as_json_lines(rows))


def write_parquet(pictures, folder):
    """Two files of three and two rows, written by datasets 5.2.0."""
    import datasets

    names = ["4-grey.jpg", "0-wide.png", "6-lossy.webp", "2-turned.jpg", "3-transparent.png"]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    for index, part in enumerate((names[:3], names[3:])):
        rows = {
            "image": [{"bytes": (pictures / name).read_bytes(), "path": name} for name in part],
            "text": [CAPTIONS[name] for name in part],
        }
        (folder / "data").mkdir(parents=True, exist_ok=True)
        target = folder / f"data/train-{index:05}-of-00002.parquet"
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(target))


if __name__ == "__main__":
    data = pathlib.Path(sys.argv[1])
    draw_pictures(data / "pictures")
    write_parquet(data / "pictures", data / "parquet")

"""What the options do that Diffusers' text-to-image script lacks: captions, buckets, masks."""

import json
import random
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from train_support import ROOT, Run, column, values

STYLE = ROOT / "examples/demo-style"
CAPTIONS = ["red; green ;blue; cyan; pink", "one;two;three", "alone", "a, b, c, d, e, f; g, h", "x;y", ""]


def photos(folder, captions, suffix=".png"):
    folder.mkdir()
    for i in range(len(captions)):
        shutil.copy(STYLE / f"{i:03}.png", folder / f"{i}{suffix}")
    lines = [{"file_name": f"{i}{suffix}", "text": caption} for i, caption in enumerate(captions) if caption is not None]
    if lines:
        (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    known = {}

    def run(data, *more):
        """An epoch of six pictures, one by one, at a rate that shows every difference; a checkpoint after each."""
        if (data, more) not in known:
            flags = {"train_data_dir": data, "resolution": 32, "max_train_steps": 6, "learning_rate": 1e-3,
                     "checkpointing_steps": 1, "output_dir": tmp_path_factory.mktemp("run")}  # fmt: skip
            known[data, more] = Run("text-to-image", flags, more)
        return known[data, more]

    return run


# Captions


def drawn(captions, order, rate=0.0, shuffle=False, keep=0, separator=",", prefix=""):
    """As Python draws it: what each picture's caption becomes in an epoch of this order."""
    generator, seen = random.Random(0), list(captions)
    for index in order:
        if rate and generator.random() < rate:
            seen[index] = ""
            continue
        if shuffle:
            parts = [part.strip() for part in captions[index].split(separator) if part.strip()]
            moving = parts[keep:]
            generator.shuffle(moving)
            seen[index] = f"{separator} ".join(parts[:keep] + moving)
        seen[index] = f"{prefix} {seen[index]}" if prefix else seen[index]
    return seen


def without_blanks(captions):
    """The tokenizer takes no notice of those beside punctuation."""
    return [caption.replace(" ", "") for caption in captions]


CAPTION_OPTIONS = {
    "prefix": {"prefix": "photo of"},
    "dropout": {"rate": 0.5},
    "all dropped": {"rate": 1.0, "prefix": "sks"},
    "shuffle": {"shuffle": True},
    "all": {"rate": 0.3, "shuffle": True, "keep": 2, "separator": ";", "prefix": "sks"},
    "keep more than there are": {"shuffle": True, "keep": 9, "separator": ";"},
}
FLAGS = {"prefix": "caption_prefix", "rate": "caption_dropout_rate", "keep": "keep_tokens", "separator": "caption_separator"}


@pytest.fixture(scope="module")
def captioned(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("captioned") / "data", CAPTIONS)


@pytest.fixture(scope="module")
def plain(train, captioned):
    return train(captioned)


@pytest.mark.parametrize("case", CAPTION_OPTIONS)
def test_captions_are_those_python_would_draw(train, captioned, plain, tmp_path, case):
    """The same bits as a data set that holds the captions drawn, and the captions themselves in the checkpoints."""
    options = CAPTION_OPTIONS[case]
    more = [f"--{FLAGS[name]}={value}" for name, value in options.items() if name in FLAGS]
    run = train(captioned, *more, *(["--shuffle_caption"] if "shuffle" in options else []))
    order = run.state(1)["loader"]["order"]
    expected = drawn(CAPTIONS, order, **options)
    for step in range(1, 6):
        (pending,) = run.state(step)["loader"]["pending"]
        assert (pending["index"], pending["caption"]) == (order[step], expected[order[step]])
    written_out = train(photos(tmp_path / "data", expected))
    assert run.bits == written_out.bits
    assert (run.bits == plain.bits) == (without_blanks(expected) == without_blanks(CAPTIONS))


def test_the_default_caption_is_for_pictures_without_one(train, tmp_path):
    some = photos(tmp_path / "some", [None] * 6)
    (some / "2.txt").write_text("a bus\n")
    (some / "4.caption").write_text("\n a truck \nmore\n")
    run = train(some, "--default_caption=a cat")
    captions = ["a cat", "a cat", "a bus", "a cat", "a truck", "a cat"]
    assert run.bits == train(photos(tmp_path / "all", captions)).bits


def test_another_caption_column(train, plain, captioned, tmp_path):
    data = shutil.copytree(captioned, tmp_path / "data")
    (data / "metadata.jsonl").write_text((data / "metadata.jsonl").read_text().replace('"text"', '"text": "no", "words"'))
    assert train(data, "--caption_column=words").bits == plain.bits


# Buckets: sizes as kohya's make_bucket_resolutions has them for these options


SIZES = [(64, 64), (64, 64), (128, 64), (64, 128), (20, 20), (40, 24)]
SMALL_BUCKETS = ["--bucket", "--bucket_reso_steps=8", "--min_bucket_reso=16", "--max_bucket_reso=64", "--encode_memory=disk"]


@pytest.fixture(scope="module")
def shapes_of_many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    pixels = np.random.default_rng(0)
    for i, (width, height) in enumerate(SIZES):
        Image.fromarray(pixels.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("noise")
    return folder


def encoded_sizes(run):
    """Width and height in pixels of all that went through the VAE, which makes 4 x 4 of them one."""
    latents = [load_file(path)["0"] for path in (run.folder / "cache").rglob("latents-*/*/*.safetensors")]
    return Counter((4 * latent.shape[3], 4 * latent.shape[2]) for latent in latents)


def batches(run):
    return int(re.search(r"epochs? of (\d+) batch", run.said)[1])


def test_buckets_keep_shapes(train, shapes_of_many):
    run = train(shapes_of_many, *SMALL_BUCKETS)
    # Areas are at most 32 x 32: of 24 x 40, 32 x 32, 48 x 16 ... the nearest in shape; small ones are enlarged.
    assert encoded_sizes(run) == {(32, 32): 3, (40, 24): 2, (24, 40): 1}
    assert batches(run) == 6


def test_batches_hold_one_size(train, shapes_of_many):
    """Three squares are two batches of two, the wide ones one, the tall one one."""
    assert batches(train(shapes_of_many, "--train_batch_size=2", "-encode_memory")) == 3
    run = train(shapes_of_many, *SMALL_BUCKETS, "--train_batch_size=2", "--max_train_steps=8")
    assert batches(run) == 4
    square = {0, 1, 4}
    for step in range(1, 8):
        pending = run.state(step)["loader"]["pending"]
        if pending:
            assert len({"square" if p["index"] in square else "tall" if p["index"] == 3 else "wide" for p in pending}) == 1
    assert all(loss > 0 for loss in run.losses) and len(run.losses) == 8


def test_small_pictures_keep_their_size_without_enlarging(train, shapes_of_many):
    run = train(shapes_of_many, *SMALL_BUCKETS, "--bucket_no_upscale")
    sizes = encoded_sizes(run)
    assert sizes[(16, 16)] == 1 and sizes[(40, 24)] >= 1 and sizes[(32, 32)] == 2
    assert all(width * height <= 32 * 32 for width, height in sizes)


def test_limits_of_buckets(train, shapes_of_many):
    wide = train(shapes_of_many, "--bucket", "--bucket_reso_steps=16", "--min_bucket_reso=16", "--max_bucket_reso=64",
                 "--encode_memory=disk")  # fmt: skip
    assert all(width % 16 == height % 16 == 0 for width, height in encoded_sizes(wide))
    square = ["--bucket", "--bucket_reso_steps=8", "--min_bucket_reso=32", "--max_bucket_reso=32"]
    assert train(shapes_of_many, *square).bits == train(shapes_of_many).bits, "one square bucket is no bucket"


# Masks


def mask(path, left, right):
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, :32], pixels[:, 32:] = left, right
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """Data sets of the same three photos, each with the same masks."""
    folder = tmp_path_factory.mktemp("masked")
    for name, sides in {"none": None, "white": (255, 255), "black": (0, 0), "left": (255, 0), "right": (0, 255),
                        "grey": (51, 51)}.items():  # fmt: skip
        photos(folder / name, ["a cat", "a dog", "a bus"])
        for i in range(3):
            if sides:
                mask(folder / name / f"{i}.mask.png", *sides)
    return folder


MASKED = ["--masked_loss", "--center_crop", "--max_train_steps=3", "--checkpointing_steps=500"]


def test_a_black_mask_teaches_nothing_and_a_white_one_everything(train, masked):
    black, white, none = (train(masked / name, *MASKED) for name in ("black", "white", "none"))
    assert black.losses == [0, 0, 0]
    assert not np.any(values(black.lora, "up")), "no gradient"
    assert white.bits == none.bits
    plain = train(masked / "none", *MASKED[1:])
    np.testing.assert_allclose(white.losses, plain.losses, rtol=1e-5)
    for name in ("white", "black"):
        assert train(masked / name, *MASKED[1:]).bits == plain.bits, "nobody asked for the masks"
    assert "Pictures: 3; from 64 x 64 to 64 x 64 pixels; 3 with a mask" in black.said


def test_parts_of_a_mask_add_up(train, masked):
    first = {name: train(masked / name, *MASKED).losses[0] for name in ("white", "left", "right", "grey")}
    assert min(first["left"], first["right"]) > 0
    np.testing.assert_allclose(first["left"] + first["right"], first["white"], rtol=1e-5)
    np.testing.assert_allclose(first["grey"], first["white"] / 5, rtol=1e-5)


def test_masks_go_with_other_losses_and_weights(train, masked):
    other = [*MASKED, "--loss_type=huber", "--snr_gamma=5"]
    left, right, white = (train(masked / name, *other).losses[0] for name in ("left", "right", "white"))
    np.testing.assert_allclose(left + right, white, rtol=1e-5)
    assert white != train(masked / "white", *MASKED).losses[0]


def test_the_alpha_of_a_picture_is_its_mask_unless_it_has_another(train, masked, tmp_path):
    data = shutil.copytree(masked / "none", tmp_path / "data")
    for i in range(3):
        picture = Image.open(data / f"{i}.png").convert("RGBA")
        picture.putalpha(255 if i == 1 else 0)
        picture.save(data / f"{i}.png")
    mask(data / "2.mask.png", 255, 255)
    clear = train(data, *MASKED)
    white = train(masked / "white", *MASKED)
    order = clear.losses
    assert sum(loss == 0 for loss in order) == 1, "the transparent one without a mask of its own"
    assert order[: order.index(0)] == white.losses[: order.index(0)]


def test_masks_turn_and_move_with_their_pictures(train, tmp_path):
    """Bands of noise and of nothing, of which every crop holds as much of each: of little noise added, the model finds
    that added to nothing, and confuses the other with the picture's own."""
    bands = np.arange(128) // 32 % 2 == 0
    pixels = np.where(bands[None, :, None], np.random.default_rng(0).integers(0, 255, (64, 128, 3)), 128).astype(np.uint8)
    losses = {}
    for name, white in (("noise", bands), ("nothing", ~bands)):
        folder = tmp_path / name / "12_bands"  # twelve times an epoch
        folder.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "a.png")
        Image.fromarray(np.repeat(white[None] * np.uint8(255), 64, 0)).save(folder / "a.mask.png")
        run = train(tmp_path / name, "--masked_loss", "--random_flip", "--max_timestep=50", "--learning_rate=0",
                    "--max_train_steps=12", "--checkpointing_steps=1")  # fmt: skip
        losses[name] = run.losses
        drawn = [run.state(step)["loader"]["pending"][0] for step in range(1, 12)]
    assert {picture["flip"] for picture in drawn} == {False, True} and len({picture["left"] for picture in drawn}) > 3
    assert all(noise > 1.1 * nothing for noise, nothing in zip(losses["noise"], losses["nothing"], strict=True)), losses


def test_masks_in_dreambooth(masked, tmp_path):
    flags = {"instance_data_dir": masked / "black", "instance_prompt": "sks cat", "resolution": 32, "masked_loss": None,
             "output_dir": tmp_path}  # fmt: skip
    run = Run("dreambooth", flags, [])
    assert column(tmp_path, "loss", "dreambooth-lora") == [0, 0]
    assert not np.any(values(run.lora, "up"))

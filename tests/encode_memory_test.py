"""Where encoded pictures and captions are kept changes no bit of a run, and damaged files are made again."""

import itertools
import json
import shutil
import subprocess
from collections import Counter

import pytest
from safetensors.numpy import load_file, save_file
from train_support import BASE, LORA, ROOT, check_failed, column, left_in, lora_bytes, noise, run_recipe, words_of

CAPTIONS = ["a cat", "a dog", "a cat", ["a bus", "a red bus"], "a truck"]
CROPS = {"center": ["--center_crop"], "random": ["--random_flip"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pictures of which every random crop is drawn; one caption twice, one with a choice."""
    folder = tmp_path_factory.mktemp("data")
    lines = []
    for i, caption in enumerate(CAPTIONS):
        noise(folder / f"{i}.png", width=64 + 8 * i, height=64, seed=i)
        lines.append(json.dumps({"file_name": f"{i}.png", "text": caption if isinstance(caption, list) else [caption]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def flags(data, output):
    return {"train_data_dir": data, "resolution": 32, "train_batch_size": 2, "max_train_steps": 6, "learning_rate": 1e-3,
            "output_dir": output}  # fmt: skip


def train(data, output, *more):
    """(every loss, the LoRA's bytes), and what was said."""
    done = run_recipe("text-to-image", flags(data, output), more)
    assert done.returncode == 0, done.stderr
    losses = column(output, "train_loss")
    assert len(losses) == 6
    return (losses, lora_bytes(output)), done.stderr


@pytest.fixture(scope="module")
def expected(data, tmp_path_factory):
    """The runs that encode every time, on the loop's own thread."""
    return {crop: train(data, tmp_path_factory.mktemp(crop), "--encode_memory=off", *CROPS[crop])[0] for crop in CROPS}


GRID = [g for g in itertools.product(CROPS, ["memory", "disk", "off"], [0, 1, 4]) if g[1:] != ("off", 0)]


@pytest.mark.parametrize("crop, memory, workers", GRID)
def test_neither_memory_nor_threads_change_a_bit(data, expected, tmp_path, crop, memory, workers):
    more = [f"--encode_memory={memory}", f"--dataloader_num_workers={workers}", *CROPS[crop]]
    run, said = train(data, tmp_path, *more)
    assert run == expected[crop]
    assert ("Encoding pictures" in said) == (crop == "center" and memory != "off")
    assert ("Encoding captions" in said) == (memory != "off")
    assert (tmp_path / "cache").exists() == (memory == "disk")


def test_crops_are_told_apart(expected):
    assert expected["center"] != expected["random"]


@pytest.mark.parametrize("more", [["--mixed_precision=bf16", "--caption_dropout_rate=0.5"],
                                  ["--train_text_encoder"], ["--shuffle_caption", "--caption_separator= "]])  # fmt: skip
def test_nor_do_they_with(data, tmp_path, more):
    runs = [train(data, tmp_path / memory, f"--encode_memory={memory}", *CROPS["random"], *more)[0]
            for memory in ("off", "memory", "disk")]  # fmt: skip
    assert runs[0] == runs[1] == runs[2]


def test_nor_in_dreambooth_with_class_pictures(tmp_path):
    (tmp_path / "class").mkdir()
    for i in range(3):
        noise(tmp_path / f"class/{i}.png", seed=i)
    runs = []
    for memory in ("off", "memory", "disk"):
        own = {"instance_data_dir": ROOT / "examples/demo-subject", "instance_prompt": "sks cat", "resolution": 32,
               "with_prior_preservation": None, "class_data_dir": tmp_path / "class", "class_prompt": "cat",
               "num_class_images": 3, "max_train_steps": 4, "output_dir": tmp_path / memory,
               "encode_memory": memory}  # fmt: skip
        done = run_recipe("dreambooth", own)
        assert done.returncode == 0, done.stderr
        runs.append((column(tmp_path / memory, "loss", "dreambooth-lora"), lora_bytes(tmp_path / memory)))
    assert runs[0] == runs[1] == runs[2] and len(runs[0][0]) == 4


# On disk


@pytest.fixture(scope="module")
def filled(data, expected, tmp_path_factory):
    """A folder of encoded inputs that a run has left behind."""
    folder = tmp_path_factory.mktemp("filled")
    run, _ = train(data, folder / "out", f"--cache_dir={folder}/cache", "--encode_memory=disk", *CROPS["center"])
    assert run == expected["center"]
    return folder / "cache"


@pytest.fixture
def cache(filled, tmp_path):
    return shutil.copytree(filled, tmp_path / "cache")


def entries(cache):
    return {path.relative_to(cache): path for path in sorted(cache.rglob("*.safetensors"))}


def contents(cache):
    return {name: path.read_bytes() for name, path in entries(cache).items()}


def times(cache):
    return {name: path.stat().st_mtime_ns for name, path in entries(cache).items()}


def again(data, tmp_path, *more):
    return train(data, tmp_path / "out", f"--cache_dir={tmp_path}/cache", "--encode_memory=disk", *CROPS["center"], *more)[0]


def kind_of(name):
    """latents or texts; the folder's name goes on with the model's fingerprint."""
    return name.parts[-3].split("-")[0]


def test_each_input_has_one_file_and_a_second_run_writes_none(data, expected, cache, tmp_path):
    assert Counter(map(kind_of, entries(cache))) == {"latents": 5, "texts": 5}  # "a cat" once, two captions of the bus
    assert all(path.is_dir() or path.suffix == ".safetensors" for path in cache.rglob("*")), "something lies about"
    before = times(cache)
    assert again(data, tmp_path) == expected["center"]
    assert times(cache) == before


def flip_bytes(part):
    """One bit in each file: in its header, its numbers or its checksum."""

    def damage(files):
        for i, path in enumerate(files):
            content = bytearray(path.read_bytes())
            start = 8 + int.from_bytes(content[:8], "little")
            at = {"length": 0, "header": 8 + i % 16, "numbers": start + 7 + i, "checksum": len(content) - 1 - i}[part]
            content[at] ^= 4
            path.write_bytes(content)

    return damage


def cut_short(files):
    for i, path in enumerate(files):
        content = path.read_bytes()
        path.write_bytes(content[: (0, 4, len(content) // 2, len(content) - 1)[i % 4]])


def swap(files):
    """Whole files in each other's place; the latents among them have one shape."""
    shuffled = [path.read_bytes() for path in files]
    for path, content in zip(files, shuffled[1:] + shuffled[:1], strict=True):
        path.write_bytes(content)


def other_tensors(files):
    for path in files:
        tensors = load_file(path)
        save_file({name: value for name, value in tensors.items() if name == "0"}, path)


def no_tensors(files):
    for path in files:
        path.write_bytes(b"\x80\x02}q\x00." * 20)


DAMAGE = {**{f"a flipped bit in the {part}": flip_bytes(part) for part in ("length", "header", "numbers", "checksum")},
          "cut short": cut_short, "swapped": swap, "other tensors": other_tensors, "a pickle": no_tensors}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_damaged_is_encoded_again_and_restored(data, expected, cache, tmp_path, case):
    before = contents(cache)
    DAMAGE[case](list(entries(cache).values()))
    damaged = contents(cache)
    assert all(damaged[name] != before[name] for name in before)
    assert again(data, tmp_path) == expected["center"]
    assert contents(cache) == before


def other_model(tmp_path, part, tensor):
    """The base with one number of one part changed."""
    copy = tmp_path / "model"
    shutil.copytree(BASE, copy)
    file = copy / part / ("model.safetensors" if part == "text_encoder" else "diffusion_pytorch_model.safetensors")
    tensors = load_file(file)
    name = next(n for n in tensors if tensor in n)
    tensors[name] = tensors[name].copy()
    tensors[name].flat[0] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    return f"--pretrained_model_name_or_path={copy}"


OTHERS = {
    "VAE": (lambda t: [other_model(t, "vae", "encoder.conv_in.weight")], {"latents": 5}),
    "text encoder": (lambda t: [other_model(t, "text_encoder", "final_layer_norm.weight")], {"texts": 5}),
    "filter": (lambda _: ["--image_interpolation_mode=bicubic"], {"latents": 5}),
    "size": (lambda _: ["--resolution=40"], {"latents": 5}),
    "mirror images": (lambda _: ["--random_flip"], {"latents": 5}),
    "captions": (lambda _: ["--caption_prefix=sks"], {"texts": 5}),
    "precision": (lambda _: ["--mixed_precision=bf16"], {"latents": 5, "texts": 5}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_was_encoded_otherwise_is_not_taken(data, expected, cache, tmp_path, case):
    make, made = OTHERS[case]
    more = make(tmp_path)
    before = times(cache)
    straight, _ = train(data, tmp_path / "straight", "--encode_memory=off", *CROPS["center"], *more)
    run = again(data, tmp_path, *more)
    assert run == straight and run != expected["center"]
    after = times(cache)
    assert {name: after[name] for name in before} == before
    assert Counter(kind_of(name) for name in after if name not in before) == made


def test_a_picture_that_changed_is_encoded_anew(data, expected, cache, tmp_path):
    changed = shutil.copytree(data, tmp_path / "data")
    noise(changed / "2.png", width=80, seed=99)
    before = times(cache)
    straight, _ = train(changed, tmp_path / "straight", "--encode_memory=off", *CROPS["center"])
    run = again(changed, tmp_path)
    assert run == straight and run != expected["center"]
    assert len(set(times(cache)) - set(before)) == 1
    (changed / "2.png").rename(changed / "renamed.png")
    (changed / "metadata.jsonl").write_text((changed / "metadata.jsonl").read_text().replace("2.png", "renamed.png"))
    before = times(cache)
    assert again(changed, tmp_path) == straight
    assert times(cache) == before, "a name is no content"


def test_two_runs_may_share_the_folder(data, expected, tmp_path):
    runs = [subprocess.Popen(words_of("text-to-image", flags(data, tmp_path / f"out{i}"),
                                      [f"--cache_dir={tmp_path}/cache", "--encode_memory=disk", *CROPS["center"]]),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in range(2)]  # fmt: skip
    for i, run in enumerate(runs):
        _, said = run.communicate(timeout=60)
        assert run.returncode == 0, said
        assert (column(tmp_path / f"out{i}", "train_loss"), lora_bytes(tmp_path / f"out{i}")) == expected["center"]
    assert Counter(map(kind_of, entries(tmp_path / "cache"))) == {"latents": 5, "texts": 5}


@pytest.mark.parametrize("place, crop", [("file", "center"), ("file/deeper", "random"), ("/proc/lorikeet", "center")])
def test_a_folder_that_cannot_be_written_is_told(data, tmp_path, place, crop):
    (tmp_path / "file").write_text("kept")
    folder = tmp_path / place
    done = run_recipe("text-to-image", flags(data, tmp_path / "out"),
                      ["--encode_memory=disk", f"--cache_dir={folder}", *CROPS[crop]])  # fmt: skip
    hint = check_failed(done, 1, str(folder))
    assert "--cache_dir" in hint and "--encode_memory=memory" in hint
    assert (tmp_path / "file").read_text() == "kept"
    assert not (tmp_path / "out" / LORA).exists()


def test_a_dry_run_encodes_nothing(data, tmp_path):
    done = run_recipe("text-to-image", flags(data, tmp_path / "out"), ["--encode_memory=disk", "--dry_run"])
    assert done.returncode == 0, done.stderr
    assert left_in(tmp_path) == []

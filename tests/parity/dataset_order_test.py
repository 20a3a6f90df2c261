"""Which pictures a folder has, in which order and with which captions: ours beside `datasets`' imagefolder.

Both read the same generated folders, `datasets` as Diffusers' script has it read them: every file below the folder.
"""

import json
import os
import random
import subprocess
from pathlib import Path

import datasets
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("LORIKEET_BUILD_DIR", ROOT / "build")) / "dataset_tool"
NAMES = ["a.png", "a10.png", "a2.png", "B.jpg", "a b.webp", "a-b.png", "ä.png", "日本.jpg", "Z.JPG", "__f.png", "9.jpeg", "10.png"]
FOLDERS = ["", "a/", "a.d/", "a-2/", "A/", "10_cat/", "9_cat/", "_y/", "deep/er/", "deep/"]
HIDDEN = [".h.png", ".hidden/x.png", "__MACOSX/x.png", "a/.DS_Store", "deep/__pycache__/x.png"]


def write_pictures(folder, names):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
        Image.new("RGB", (8, 8), (i % 256, 0, 0)).save(path, format=kinds.get(path.suffix.lower(), "PNG"))


def ours(folder, **request):
    line = json.dumps({"folder": str(folder), **request})
    done = subprocess.run([TOOL], input=line + "\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert "error" not in answer, answer
    return answer["records"]


def theirs(folder, cache):
    """(path, caption) of every row, as train_text_to_image_lora.py loads --train_data_dir."""
    loaded = datasets.load_dataset("imagefolder", data_files={"train": str(folder / "**")}, cache_dir=str(cache))
    rows = loaded["train"].cast_column("image", datasets.Image(decode=False))
    return [(os.path.relpath(row["image"]["path"], folder), row.get("text")) for row in rows]


def random_tree(seed):
    choose = random.Random(seed)
    return [folder + name for folder in FOLDERS for name in choose.sample(NAMES, 4)]


@pytest.mark.parametrize("seed", range(4))
def test_order_without_metadata(seed, tmp_path):
    folder = tmp_path / "data"
    write_pictures(folder, random_tree(seed) + HIDDEN)
    os.symlink(folder / "deep", folder / "linked")
    os.symlink(folder / "deep", folder / "deep" / "loop")
    target = tmp_path / "elsewhere.png"
    write_pictures(tmp_path, [target.name])
    os.symlink(target, folder / "b-linked.png")
    os.symlink(folder / "gone.png", folder / "c-broken.png")
    expected = [name for name, _ in theirs(folder, tmp_path / "cache")]
    assert len(expected) == 4 * len(FOLDERS) + 1
    assert [record["name"] for record in ours(folder, default_caption="x")] == expected


def captions_for(names, seed):
    """A caption per name: commas, quotes, blanks around, several scripts."""
    choose = random.Random(seed)
    parts = ["a naruto", 'with "blue" eyes', ", standing", " ", "é", "日本", "\\", "'", "  trailing  ", "#1"]
    return [name + "".join(choose.choices(parts, k=choose.randint(1, 5))) for name in names]


def write_metadata(folder, kind, names, captions):
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "jsonl":
        rows = [{"extra": 1, "file_name": name, "text": text} for name, text in zip(names, captions)]
        lines = [json.dumps(row, ensure_ascii=i % 2 == 0) for i, row in enumerate(rows)]
        (folder / "metadata.jsonl").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    else:
        quoted = [f'{i},{name},"' + text.replace('"', '""') + '"' for i, (name, text) in enumerate(zip(names, captions))]
        text = "extra,file_name,text\r\n" + "\r\n\r\n".join(quoted) + "\r\n"
        (folder / "metadata.csv").write_text("\ufeff" + text, encoding="utf-8", newline="")


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("seed", range(2))
def test_rows_of_metadata_in_the_folder(kind, seed, tmp_path):
    folder = tmp_path / "data"
    names = random_tree(seed)
    write_pictures(folder, names)
    random.Random(seed).shuffle(names)
    rows = names[:25] + ["./" + names[3], "deep/../" + names[4], names[0]]
    write_metadata(folder, kind, rows, captions_for(rows, seed))
    expected = theirs(folder, tmp_path / "cache")
    assert len(expected) == 28
    assert [(record["name"], record["captions"][0]) for record in ours(folder)] == expected


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_rows_of_metadata_in_one_sub_folder(kind, tmp_path):
    folder = tmp_path / "data"
    names = [name for name in random_tree(7) if name.startswith("deep/")]
    write_pictures(folder, names)
    rows = [name.removeprefix("deep/") for name in reversed(names)]
    write_metadata(folder / "deep", kind, rows, captions_for(rows, 1))
    expected = theirs(folder, tmp_path / "cache")
    assert len(expected) == len(names)
    assert [(record["name"], record["captions"][0]) for record in ours(folder)] == expected


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_several_metadata_files(kind, tmp_path):
    """`datasets` takes the files in the order of a Python set of strings, another one in every process: there is no
    order to be equal to, but the rows of each file stay together, and ours is the order of the files' paths."""
    folder = tmp_path / "data"
    sub_folders = ["x", "a/b", "a-b"]
    for sub in sub_folders:
        names = [f"{i}.png" for i in (3, 1, 2)]
        write_pictures(folder / sub, names)
        write_metadata(folder / sub, kind, names, captions_for(names, 5))
    rows = [(record["name"], record["captions"][0]) for record in ours(folder)]
    by_file = [row for sub in sorted(sub_folders, key=lambda sub: f"{sub}/metadata") for row in rows if os.path.dirname(row[0]) == sub]
    assert rows == by_file
    expected = theirs(folder, tmp_path / "cache")
    for sub in sub_folders:
        of_sub = [row for row in expected if os.path.dirname(row[0]) == sub]
        start = expected.index(of_sub[0])
        assert expected[start : start + 3] == of_sub == [row for row in rows if os.path.dirname(row[0]) == sub]


def test_lists_of_captions(tmp_path):
    folder = tmp_path / "data"
    write_pictures(folder, ["a.png", "b.png"])
    rows = [{"file_name": "b.png", "text": ["one", "two", "öne"]}, {"file_name": "a.png", "text": ["three"]}]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = theirs(folder, tmp_path / "cache")
    assert [(record["name"], record["captions"]) for record in ours(folder)] == expected


def test_what_datasets_refuses_is_refused(tmp_path):
    folder = tmp_path / "data"
    write_pictures(folder, ["a.png", "in/b.png"])
    for path in ("/etc/passwd", "../../a.png", "file:///etc/passwd"):
        (folder / "in/metadata.jsonl").write_text(json.dumps({"file_name": path, "text": "x"}) + "\n")
        with pytest.raises(Exception, match="An error occurred while generating"):
            theirs(folder, tmp_path / "cache")
        done = subprocess.run([TOOL], input=json.dumps({"folder": str(folder)}) + "\n", capture_output=True, text=True)
        assert "line 1" in json.loads(done.stdout)["error"]


def test_the_version_the_order_was_read_from():
    assert datasets.__version__ == "5.2.0"

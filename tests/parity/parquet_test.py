"""Parquet files that Hugging Face datasets itself writes: the same rows as it reads from them."""

import hashlib
import io
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value, load_dataset
from datasets.table import embed_table_storage
from PIL import Image as Pillow

TOOL = Path(os.environ.get("LORIKEET_BUILD_DIR", "build")) / "parquet_tool"
RANDOM = np.random.default_rng(0)


def ours(cache, files, image="image", caption="text"):
    request = {"files": list(map(str, files)), "cache": str(cache), "image": image, "caption": caption}
    done = subprocess.run([TOOL], input=json.dumps(request) + "\n", capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert "records" in answer, answer
    return [(record["sha256"], record["captions"]) for record in answer["records"]]


def theirs(cache, files, image="image", caption="text"):
    rows = load_dataset("parquet", data_files=list(map(str, files)), split="train", cache_dir=str(cache))
    rows = rows.cast_column(image, Image(decode=False))
    captions = [row if isinstance(row, list) else [row] for row in rows[caption]]
    pictures = [row["bytes"] or Path(row["path"]).read_bytes() for row in rows[image]]
    return [(hashlib.sha256(data).hexdigest(), words) for data, words in zip(pictures, captions)]


def picture(size):
    return Pillow.fromarray(RANDOM.integers(0, 255, (size, size + 3, 3), dtype=np.uint8))


def encoded(size, kind):
    out = io.BytesIO()
    picture(size).save(out, kind)
    return out.getvalue()


def made(kind, folder):
    """A data set with 7 rows whose pictures come from memory, from encoded bytes, or from files."""
    if kind == "memory":
        images = [picture(8 + i) for i in range(7)]
    elif kind == "bytes":
        images = [{"bytes": encoded(8 + i, "PNG" if i % 2 else "JPEG"), "path": None} for i in range(7)]
    else:
        images = []
        for i in range(7):
            images.append(str(folder / f"{i}.jpg"))
            (folder / f"{i}.jpg").write_bytes(encoded(8 + i, "JPEG"))
    text = Value("string")
    captions = [f"a picture, number {i} ü" for i in range(7)]
    if kind == "files":
        text = List(Value("string"))
        captions = [[f"first {i}", f"second {i}"][:1 + i % 2] for i in range(7)]
    return Dataset.from_dict({"image": images, "text": captions}, Features({"image": Image(), "text": text}))


@pytest.mark.parametrize("options", [{}, {"batch_size": 2}, {"use_content_defined_chunking": False}],
                         ids=str)
@pytest.mark.parametrize("kind", ["memory", "bytes", "files"])
def test_written_by_to_parquet(tmp_path, kind, options):
    file = tmp_path / "train.parquet"
    made(kind, tmp_path).to_parquet(file, **options)
    expected = theirs(tmp_path / "peer", [file])
    assert len(expected) == 7
    assert ours(tmp_path / "cache", [file]) == expected


def test_shards_and_other_column_names(tmp_path):
    rows = made("bytes", tmp_path).rename_columns({"image": "photo", "text": "en"}).add_column("id", list(range(7)))
    files = [tmp_path / f"train-{i:05}-of-00003.parquet" for i in range(3)]
    for i, file in enumerate(files):
        rows.shard(3, i).to_parquet(file)
    names = {"image": "photo", "caption": "en"}
    assert ours(tmp_path / "cache", files, **names) == theirs(tmp_path / "peer", files, **names)


def test_files_written_into_the_set(tmp_path):
    file = tmp_path / "train.parquet"
    rows = made("files", tmp_path)
    rows.with_format("arrow").map(embed_table_storage, batched=True).with_format(None).to_parquet(file)
    expected = theirs(tmp_path / "peer", [file])
    for path in tmp_path.glob("*.jpg"):
        path.unlink()
    assert ours(tmp_path / "cache", [file]) == expected


def test_rows_taken_in_another_order(tmp_path):
    file = tmp_path / "train.parquet"
    made("memory", tmp_path).shuffle(seed=3).select(range(5)).to_parquet(file)
    assert ours(tmp_path / "cache", [file]) == theirs(tmp_path / "peer", [file])

"""Parquet data sets: every layout that pyarrow can write of pictures and captions, the copy made of them, and damage."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

BUILD = Path(os.environ.get("LORIKEET_BUILD_DIR", "build")).resolve()
TOOL = BUILD / "parquet_tool"
KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def run_tool(requests, tool=TOOL, **options):
    """One answer per request; the process must live to give them all."""
    text = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([tool], input=text, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests)
    return answers, done.stderr


def request(cache, *files, **more):
    return {"files": [str(file) for file in files], "cache": str(cache), **more}


def open_set(cache, *files, **more):
    (answer,), _ = run_tool([request(cache, *files, **more)])
    return answer


def picture(i):
    """Not a picture, but bytes that are told apart; reading Parquet does not decode them."""
    return random.Random(i).randbytes(200 + 37 * i)


PICTURES = [picture(i) for i in range(10)]
CAPTIONS = [f"a caption, ünï 🦜 {i}" for i in range(10)]
STRUCTS = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(PICTURES)]


def expect(answer, file, pictures=PICTURES, captions=CAPTIONS):
    assert "records" in answer, answer
    records = answer["records"]
    assert [r["sha256"] for r in records] == [hashlib.sha256(p).hexdigest() for p in pictures]
    assert [r["captions"] for r in records] == [c if isinstance(c, list) else [c] for c in captions]
    assert [r["name"] for r in records] == [f"{file.name} row {i}" for i in range(len(pictures))]


def write(path, image=None, text=None, **options):
    image = pa.array(STRUCTS, KIND) if image is None else image
    text = pa.array(CAPTIONS) if text is None else text
    pq.write_table(pa.table({"image": image, "text": text}), path, **options)
    return path


LISTS = [[f"one {i}", f"two {i}"] for i in range(10)]
FLIPPED = pa.struct([("path", pa.string()), ("width", pa.int64()), ("bytes", pa.large_binary())])
LAYOUTS = {
    "struct": {},
    "struct, other order and fields": {"image": pa.array([{**s, "width": 7} for s in STRUCTS], FLIPPED)},
    "binary": {"image": pa.array(PICTURES, pa.binary())},
    "large_binary": {"image": pa.array(PICTURES, pa.large_binary())},
    "binary_view": {"image": pa.array(PICTURES, pa.binary_view())},
    "large_string": {"text": pa.array(CAPTIONS, pa.large_string())},
    "string_view": {"text": pa.array(CAPTIONS, pa.string_view())},
    "categories": {"text": pa.array(CAPTIONS).dictionary_encode()},
    "lists": {"text": pa.array(LISTS, pa.list_(pa.string()))},
    "large lists": {"text": pa.array(LISTS, pa.large_list(pa.large_string()))},
    "lists of two": {"text": pa.array(LISTS, pa.list_(pa.string(), 2))},
    **{codec: {"compression": codec} for codec in ("none", "snappy", "zstd", "gzip", "brotli", "lz4")},
    "row groups": {"row_group_size": 3},
    "row groups of one": {"row_group_size": 1, "compression": "zstd"},
    "small pages": {"data_page_size": 100, "write_batch_size": 1, "data_page_version": "2.0"},
    "no dictionary": {"use_dictionary": False, "write_statistics": False, "store_schema": False},
    "checksums and index": {"write_page_checksum": True, "write_page_index": True},
    "chunks by content": {"use_content_defined_chunking": True},
    "version 1.0": {"version": "1.0"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_pictures_and_captions(tmp_path, layout):
    file = write(tmp_path / "train.parquet", **LAYOUTS[layout])
    captions = LISTS if layout.endswith("lists") or layout == "lists of two" else CAPTIONS
    expect(open_set(tmp_path / "cache", file), file, captions=captions)


def test_columns_are_found_by_name_among_others_in_any_order(tmp_path):
    file = tmp_path / "x.parquet"
    nested = pa.array([{"a": [1, 2], "b": {"c": "x"}}] * 10)
    pq.write_table(pa.table({"id": range(10), "en": CAPTIONS, "nested": nested, "photo": pa.array(STRUCTS, KIND),
                             "thumb": PICTURES[::-1]}), file)
    cache = tmp_path / "cache"
    expect(open_set(cache, file, image="photo", caption="en"), file)
    expect(open_set(cache, file, image="thumb", caption="en"), file, pictures=PICTURES[::-1])  # its own copy


def test_several_files_keep_their_order(tmp_path):
    files = [write(tmp_path / f"train-{i:05}.parquet", image=pa.array(STRUCTS[i:i + 2], KIND), text=CAPTIONS[i:i + 2])
             for i in (8, 0, 4)]
    empty = tmp_path / "empty.parquet"
    pq.write_table(pq.read_table(files[0]).slice(0, 0), empty)
    answer = open_set(tmp_path / "cache", files[0], empty, *files[1:])
    assert [r["captions"][0] for r in answer["records"]] == [CAPTIONS[i] for i in (8, 9, 0, 1, 4, 5)]
    assert [r["name"] for r in answer["records"]][2] == "train-00000.parquet row 0"
    assert answer["calls"] == 6


def test_the_copy_is_made_once_and_again_when_something_changed(tmp_path):
    file, cache = write(tmp_path / "train.parquet"), tmp_path / "deep/cache"
    first = open_set(cache, file)
    assert first["calls"] == 10
    second = open_set(cache, file)
    assert second["calls"] == 0 and second["records"] == first["records"]
    [bin_file] = cache.glob("*.bin")
    assert bin_file.read_bytes() == b"".join(PICTURES)
    assert {Path(r["file"]) for r in first["records"]} == {bin_file}
    os.utime(file, ns=(1, 1))
    assert open_set(cache, file)["calls"] == 10
    write(file, text=pa.array(CAPTIONS[::-1]))
    expect(open_set(cache, file), file, captions=CAPTIONS[::-1])


def test_a_moved_cache_is_still_good(tmp_path):
    file = write(tmp_path / "train.parquet")
    open_set(tmp_path / "one", file)
    (tmp_path / "one").rename(tmp_path / "two")
    answer = open_set(tmp_path / "two", file)
    assert answer["calls"] == 0
    expect(answer, file)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "bin shorter", "bin longer", "no bin", "no index"])
def test_a_damaged_copy_is_made_anew(tmp_path, damage):
    file, cache = write(tmp_path / "train.parquet"), tmp_path / "cache"
    open_set(cache, file)
    [bin_file], [index] = cache.glob("*.bin"), cache.glob("*.index")
    data = bytearray(index.read_bytes())
    if damage == "flip":
        data[data.index("caption".encode())] ^= 1
        index.write_bytes(data)
    elif damage == "cut":
        index.write_bytes(data[:-70])
    elif damage == "empty":
        index.write_bytes(b"")
    elif damage == "bin shorter":
        os.truncate(bin_file, 100)
    elif damage == "bin longer":
        os.truncate(bin_file, 10 ** 6)
    elif damage == "no bin":
        bin_file.unlink()
    else:
        index.unlink()
    (answer,), said = run_tool([request(cache, file)])
    assert answer["calls"] == 10
    expect(answer, file)
    assert ("is not used" in said) == (damage != "no index")
    assert open_set(cache, file)["calls"] == 0


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    file, cache = write(tmp_path / "train.parquet"), tmp_path / "cache"
    open_set(cache, file)
    [bin_file], [index] = cache.glob("*.bin"), cache.glob("*.index")
    index.unlink()
    left = cache / (bin_file.name + ".123.0.incomplete")
    other = cache / "pictures-other.bin.123.0.incomplete"
    for leftover in (left, other):
        leftover.write_bytes(b"half")
    expect(open_set(cache, file), file)
    assert not left.exists() and other.exists()


def test_runs_at_the_same_time_read_it_once(tmp_path):
    file = write(tmp_path / "train.parquet", image=pa.array([random.Random(i).randbytes(10 ** 6) for i in range(40)]),
                 text=[str(i) for i in range(40)])
    text = json.dumps(request(tmp_path / "cache", file)) + "\n"
    processes = [subprocess.Popen([TOOL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                 for _ in range(4)]
    for process in processes:
        process.stdin.write(text)
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert sorted(answer["calls"] for answer in answers) == [0, 0, 0, 40]
    assert all(answer["records"] == answers[0]["records"] for answer in answers)


def test_a_row_without_bytes_stands_for_the_file_beside_it(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_bytes(PICTURES[3])
    absolute = tmp_path / "elsewhere.png"
    absolute.write_bytes(PICTURES[4])
    rows = [STRUCTS[0], {"bytes": None, "path": "pictures/a.png"}, {"bytes": None, "path": str(absolute)}]
    file = write(tmp_path / "x.parquet", image=pa.array(rows, KIND), text=CAPTIONS[:3])
    answer = open_set(tmp_path / "cache", file)
    expect(answer, file, pictures=[PICTURES[0], PICTURES[3], PICTURES[4]], captions=CAPTIONS[:3])
    assert answer["records"][1]["bytes"] == answer["records"][2]["bytes"] == -1
    assert open_set(tmp_path / "cache", file)["records"] == answer["records"]


ROWS = {
    "null picture": ([STRUCTS[0], None], CAPTIONS[:2], "row 1 has no picture: its value is null"),
    "null bytes": ([STRUCTS[0], {"bytes": None, "path": None}], CAPTIONS[:2], "row 1 has no picture: its value is null"),
    "no bytes": ([{"bytes": b"", "path": "x.png"}], CAPTIONS[:1], "row 0 has a picture of 0 bytes"),
    "missing file": ([{"bytes": None, "path": "gone.png"}], CAPTIONS[:1],
                     "row 0 has no picture bytes, only the path 'gone.png', where no file is"),
    "folder": ([{"bytes": None, "path": "."}], CAPTIONS[:1], "where no file is"),
    "device": ([{"bytes": None, "path": "/dev/zero"}], CAPTIONS[:1], "where no file is"),
    "path with a null": ([{"bytes": None, "path": "x\0.png"}], CAPTIONS[:1], "where no file is"),
    "null caption": (STRUCTS[:2], ["x", None], "row 1 has no caption in the column 'text'"),
    "no captions": (STRUCTS[:2], [["x"], []], "row 1 has no caption in the column 'text'"),
    "null list": (STRUCTS[:2], [["x"], None], "row 1 has no caption in the column 'text'"),
    "null in list": (STRUCTS[:2], [["x"], ["y", None]], "row 1 has a null among its captions in the column 'text'"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_bad_row_is_told_with_file_and_number_and_leaves_nothing(tmp_path, case):
    image, text, message = ROWS[case]
    file = write(tmp_path / "x.parquet", image=pa.array(image, KIND), text=pa.array(text))
    answer = open_set(tmp_path / "cache", file)
    assert answer["kind"] == "FormatError"
    assert f"{file}: row " in answer["error"] and message in answer["error"]
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


COLUMNS = {
    "no such image column": ({"image": "img"}, "has no column 'img'; it has 'image' (struct<bytes: binary, path: string>), "
                                               "'text' (string), 'n' (int64)", "--image_column=image"),
    "no such caption column": ({"caption": "caption"}, "has no column 'caption'", "--caption_column=text"),
    "image is text": ({"image": "text"}, "the column 'text' is string; expected encoded pictures", "--image_column=image"),
    "image is a number": ({"image": "n"}, "the column 'n' is int64; expected encoded pictures", "--image_column=image"),
    "caption is a picture": ({"caption": "image"}, "expected captions", "--caption_column=text"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_a_wrong_column_is_told_with_the_right_one(tmp_path, case):
    columns, message, hint = COLUMNS[case]
    file = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": pa.array(STRUCTS, KIND), "text": CAPTIONS, "n": range(10)}), file)
    answer = open_set(tmp_path / "cache", file, **columns)
    assert (answer["kind"], answer["hint"]) == ("UsageError", hint)
    assert message in answer["error"]


def test_a_file_without_any_picture_column_says_so(tmp_path):
    file = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": CAPTIONS, "when": range(10)}), file)
    answer = open_set(tmp_path / "cache", file)
    assert "no column of this file holds encoded pictures" in answer["hint"]


def test_files_that_are_none(tmp_path):
    (tmp_path / "x.parquet").write_text("hello, I am a csv file\n")
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "lfs.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "secret.parquet").write_bytes(b"PARE" + b"\0" * 40)
    (tmp_path / "folder.parquet").mkdir()
    write(tmp_path / "rows.parquet", image=pa.array([], KIND), text=pa.array([], pa.string()))
    for name, kind, message, hint in [
            ("x", "FormatError", "does not begin with PAR1", ""),
            ("empty", "FormatError", "does not begin with PAR1", ""),
            ("lfs", "FormatError", "is no Parquet file", "git lfs pull"),
            ("secret", "FormatError", "is encrypted", ""),
            ("folder", "FileError", "is a file, and this is none", ""),
            ("gone", "FileError", "No such file", ""),
            ("rows", "FormatError", "holds no rows", "")]:
        answer = open_set(tmp_path / "cache", tmp_path / f"{name}.parquet")
        assert answer["kind"] == kind, answer
        assert message in answer["error"] and hint in answer["hint"]
    assert "no Parquet files given" in open_set(tmp_path / "cache")["error"]


def test_without_the_library_it_says_how_to_get_it(tmp_path):
    tool = shutil.copy(TOOL, tmp_path)
    file = write(tmp_path / "x.parquet")
    (answer,), _ = run_tool([request(tmp_path / "cache", file)], tool)
    assert answer["kind"] == "FileError"
    assert f"liblorikeet_parquet.so, which is not beside the program in {tmp_path}" in answer["error"]
    assert "make build" in answer["hint"] and "pyarrow" in answer["hint"]
    (tmp_path / "liblorikeet_parquet.so").write_text("not a library")
    (answer,), _ = run_tool([request(tmp_path / "cache", file)], tool)
    assert f"cannot load {tmp_path}/liblorikeet_parquet.so" in answer["error"]
    (tmp_path / "liblorikeet_parquet.so").unlink()
    shutil.copy(BUILD / "liblorikeet_parquet.so", tmp_path)
    (answer,), _ = run_tool([request(tmp_path / "cache", file)], tool)
    expect(answer, file)


def test_the_tool_itself_needs_no_arrow():
    needed = subprocess.run(["ldd", TOOL], capture_output=True, text=True, check=True).stdout
    assert "libcrypto" in needed and "arrow" not in needed and "parquet" not in needed


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    file, cache = write(tmp_path / "x.parquet"), tmp_path / "cache"
    (answer,), _ = run_tool([request(cache, file)], preexec_fn=limited, restore_signals=False)
    assert answer["kind"] == "FileError"
    assert "cannot write" in answer["error"] and "free some disk space" in answer["hint"]
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_a_cache_that_cannot_be(tmp_path):
    (tmp_path / "cache").write_text("")
    answer = open_set(tmp_path / "cache", write(tmp_path / "x.parquet"))
    assert answer["kind"] == "FileError" and "cannot make the folder" in answer["error"]


def mutations(data, count, rng):
    """Flipped bits, overwritten and removed parts, footers of other lengths; half of them in the last part, where the
    footer is."""
    for i in range(count):
        mutated = bytearray(data)
        footer = int.from_bytes(data[-8:-4], "little") + 8
        begin = max(4, len(data) - footer) if i % 2 else 4
        at = rng.randrange(begin, len(data))
        kind = i % 7
        if kind < 3:
            for _ in range(1 + kind * 3):
                mutated[rng.randrange(begin, len(data))] ^= 1 << rng.randrange(8)
        elif kind == 3:
            del mutated[at:]
        elif kind == 4:
            del mutated[at:at + rng.randrange(1, 30)]
        elif kind == 5:
            mutated[at:at + 5] = rng.choice([b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x08", b"\0\0\0\0\0"])
        else:
            mutated[-8:-4] = rng.randrange(2 ** 32).to_bytes(4, "little")
        yield bytes(mutated)


def test_damaged_files_are_refused_or_read_and_nothing_worse(tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (2 ** 31, 2 ** 31))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    rng = random.Random(0)
    seeds = [write(tmp_path / f"{i}", **LAYOUTS[layout], **more).read_bytes() for i, (layout, more) in enumerate([
        ("struct", {}), ("lists", {"compression": "zstd", "row_group_size": 4}), ("checksums and index", {}),
        ("categories", {"store_schema": True}), ("small pages", {"compression": "zstd"})])]
    files = []
    for i, seed in enumerate(seeds):
        for j, data in enumerate(mutations(seed, 140, rng)):
            files.append(tmp_path / f"m{i}-{j}.parquet")
            files[-1].write_bytes(data)
    started = time.monotonic()
    answers, _ = run_tool([request(tmp_path / f"cache/{file.name}", file) for file in files], preexec_fn=limited)
    assert time.monotonic() - started < 60
    refused = [answer for answer in answers if "error" in answer]
    assert {answer["kind"] for answer in refused} == {"FormatError", "UsageError"}  # a damaged column name is another one
    assert all(str(tmp_path) in answer["error"] and len(answer["error"]) < 1200 for answer in refused)
    assert len(refused) > len(files) / 2  # the rest: damage to pictures, padding, statistics
    assert len(refused) < len(files)


def test_flips_in_pages_with_checksums_are_always_noticed(tmp_path):
    file = write(tmp_path / "x.parquet", image=pa.array(PICTURES), write_page_checksum=True, compression="none",
                 use_dictionary=False, write_statistics=False)  # those would hold pictures outside the pages
    data, requests = file.read_bytes(), []
    for i in range(10):
        at = data.index(PICTURES[i]) + 17 * i
        damaged = tmp_path / f"{i}.parquet"
        damaged.write_bytes(data[:at] + bytes([data[at] ^ 64]) + data[at + 1:])
        requests.append(request(tmp_path / "cache", damaged))
    answers, _ = run_tool(requests)
    assert all("CRC checksum" in answer["error"] for answer in answers), answers

"""Data sets as people put them on the Hub, made by code: small pictures, Parquet files, cards.

tools/reference/hub_datasets.py asks `datasets` what a training would see of each, and writes tests/data/hub_datasets.json.
Every picture is known by its number, which its pixels tell.
"""

import csv
import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OWNER = "tester"
CONVERTED = "refs/convert/parquet"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass
class Scenario:
    files: dict  # {path: bytes} of the branch main
    config: str | None = None  # --dataset_config_name
    data_dir: str | None = None  # --train_data_dir
    image_column: str = "image"
    caption_column: str = "text"
    branches: dict = field(default_factory=dict)  # {reference: {path: bytes}}
    ordered: bool = True  # false: `datasets` has an order of its own each time
    official: dict = field(default_factory=dict)  # what load_dataset is asked instead, where it refuses what we offer


def pixels(number):
    return bytes([number % 256, 255 - number % 256, 7 * number % 256]) * 12


def picture(number, kind="PNG"):
    out = io.BytesIO()
    Image.frombytes("RGB", (4, 3), pixels(number)).save(out, kind)
    return out.getvalue()


def picture_id(data):
    """Of the pixels, in RGB: the first 16 digits of their sha256."""
    return hashlib.sha256(data).hexdigest()[:16]


def caption(number):
    return f"caption {number}, \u00fcn\u00ef"


def parquet(numbers, image="image", text="text", captions=None, described=True, **options):
    """A Parquet file as `datasets` writes it; `described`: it tells that the column holds pictures."""
    captions = captions or [caption(i) for i in numbers]
    kind = pa.list_(pa.string()) if isinstance(captions[0], list) else pa.string()
    pictures = [{"bytes": picture(i), "path": f"{i}.png"} for i in numbers]
    table = pa.table({image: pa.array(pictures, IMAGE), text: pa.array(captions, kind)})
    if described:
        value = {"dtype": "string", "_type": "Value"}
        words = {"feature": value, "_type": "List"} if isinstance(captions[0], list) else value
        about = {"info": {"features": {image: {"_type": "Image"}, text: words}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def pictures(names, start=0):
    return {name: picture(start + i) for i, name in enumerate(names)}


def json_lines(names, start=0):
    rows = [{"file_name": name, "text": caption(start + i)} for i, name in enumerate(names)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def comma_lines(names, start=0):
    out = io.StringIO()
    csv.writer(out).writerows([["file_name", "text"], *([name, caption(start + i)] for i, name in enumerate(names))])
    return out.getvalue().encode()


def card(text, body="# A data set\n"):
    return {"README.md": f"---\n{text}---\n{body}".encode()}


def folder(names, start=0, at="", write=json_lines, file="metadata.jsonl", row_order=None):
    """Pictures below `at` with one list of captions there."""
    made = {at + name: data for name, data in pictures(names, start).items()}
    return made | {at + file: write(names, start)}


# Pictures in Parquet files
def parquet_scenarios():
    shards = {f"data/train-{i:05}-of-00003.parquet": parquet([3 * i, 3 * i + 1]) for i in (2, 0, 1)}
    test = {"data/test-00000-of-00001.parquet": parquet([50, 51])}
    yield "parquet-one-file", Scenario({"pictures.parquet": parquet(range(5), row_group_size=2)})
    yield "parquet-shards", Scenario(shards | test)
    yield "parquet-shards-and-others", Scenario(shards | test | {"more/extra.parquet": parquet([60]), "train.parquet": parquet([61])})
    yield "parquet-other-splits", Scenario(shards | {"data/first-00000-of-00001.parquet": parquet([70])})
    yield "parquet-splits-by-name", Scenario({f"{name}.parquet": parquet([i]) for i, name in enumerate(["train", "test", "validation"])})
    yield "parquet-in-folders", Scenario({f"{name}.parquet": parquet([i]) for i, name in enumerate(["b/1", "a/2", "B/3", "a/10", "0"])})
    yield "parquet-with-folders-named-after-splits", Scenario(
        {"training/b.parquet": parquet([1]), "training/a.parquet": parquet([2]), "dev/a.parquet": parquet([3])})  # fmt: skip
    yield "parquet-lists-of-captions", Scenario({"train.parquet": parquet(range(3), captions=[["a", "b"], ["c"], ["d", "e", "f"]])})
    named = {"data/train-00000-of-00001.parquet": parquet(range(3), image="photo", text="en")}
    yield "parquet-columns", Scenario(named, image_column="photo", caption_column="en")
    yield "parquet-columns-missing", Scenario(named)
    yield "parquet-not-described", Scenario({"train.parquet": parquet(range(3), described=False)})
    yield "parquet-described-by-the-card", Scenario(card(
        "dataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: text\n    dtype: string\n  splits:\n"
        "  - name: train\n    num_bytes: 1\n    num_examples: 3\n  download_size: 1\n  dataset_size: 1\n"
    ) | {"train.parquet": parquet(range(3), described=False)})  # fmt: skip
    yield "parquet-only-test", Scenario(test)
    yield "parquet-damaged", Scenario({"train.parquet": parquet(range(3))[:-20]})
    yield "parquet-two-schemas", Scenario({"a.parquet": parquet([1]), "b.parquet": parquet([2], text="other")})


# What a card says
def config(name, files=None, more=""):
    return f"- config_name: {name}\n" + (f"  data_files: {files}\n" if files is not None else "") + more


def card_scenarios():
    parts = {f"{name}/{file}.parquet": parquet([10 * i + k]) for i, name in enumerate(["one", "two"], 1)
             for k, file in enumerate(["b", "a", "c"])}  # fmt: skip
    one, two = config("one", '"one/*.parquet"'), config("two", '"two/*.parquet"')

    def with_card(configs, **more):
        return Scenario(parts | card("configs:\n" + configs), **more)

    yield "card-default-true", with_card(one + two + "  default: true\n")
    yield "card-named-default", with_card(one + config("default", '"two/*.parquet"'))
    yield "card-only-config", with_card(one)
    yield "card-config-given", with_card(one + two + "  default: true\n", config="one")
    yield "card-config-missing", with_card(one + two)
    yield "card-config-wrong", with_card(one + two, config="three")
    yield "card-two-defaults", with_card(one + "  default: true\n" + two + "  default: true\n", config="one")
    yield "card-default-false", with_card(one + "  default: false\n" + two + "  default: true\n")
    yield "card-path", with_card(config("default", "two/a.parquet"))
    yield "card-path-not-there", with_card(config("default", "two/none.parquet"))
    yield "card-path-outside", with_card(config("default", "../../x/two/a.parquet"))
    yield "card-path-absolute", with_card(config("default", "/etc/passwd"))
    yield "card-list", with_card(config("default", "\n  - two/c.parquet\n  - one/a.parquet\n  - two/a.parquet"))
    yield "card-list-overlaps", with_card(config("default", '\n  - "two/[bc].parquet"\n  - "*/b.parquet"'))
    yield "card-recursive-glob", with_card(config("default", '"**/a.parquet"'))
    yield "card-double-star", with_card(config("default", '"one**"'))
    yield "card-question-mark", with_card(config("default", '"one/?.parquet"'))
    yield "card-braces", with_card(config("default", '"{one,two}/a.parquet"'))
    split = "\n  - split: train\n    path: {}\n  - split: test\n    path: two/b.parquet"
    yield "card-splits", with_card(config("default", split.format("one/*")))
    yield "card-splits-of-lists", with_card(config("default", split.format("\n    - two/c.parquet\n    - one/[!a].parquet")))
    yield "card-split-without-files", with_card(config("default", split.format("one/a.parquet") + "\n  - split: dev\n    path: x/*"))
    yield "card-no-train", with_card(config("default", "\n  - split: dev\n    path: one/*"))
    yield "card-split-twice", with_card(config("default", "\n  - split: train\n    path: one/a.parquet\n  - split: train\n    path: two/a.parquet"))
    yield "card-split-with-more", with_card(config("default", "\n  - split: train\n    path: one/*\n    size: 3"))
    yield "card-data-dir", with_card(config("default", more="  data_dir: two\n"))
    yield "card-data-dir-and-files", with_card(config("default", '"[ab].parquet"', "  data_dir: two\n"))
    yield "card-config-without-files", with_card(config("default"))
    yield "card-some-without-files", with_card(one + config("two"), config="two")
    yield "card-first-without-files", with_card(config("two") + one, config="one")
    yield "card-data-dir-given", with_card(one, data_dir="two")
    yield "card-unknown-keys", with_card(one + "  drop_labels: true\n  shuffle: 3\n")
    yield "card-columns-chosen", with_card(one + "  columns: [text, image]\n")
    yield "card-configs-are-no-list", with_card("  one: 1\n")
    yield "card-config-without-name", with_card('- data_files: "one/*"\n')
    yield "card-without-front-matter", Scenario(parts | {"README.md": b"# Pictures\n\n---\nconfigs: none\n"})
    yield "card-empty", Scenario(parts | {"README.md": b""})
    yield "card-front-matter-is-empty", Scenario(parts | {"README.md": b"---\n---\n# Pictures\n"})
    yield "card-is-no-yaml", Scenario(parts | {"README.md": b"---\nconfigs: [a\n---\n"})
    yield "card-with-crlf", Scenario(parts | {"README.md": ("---\nconfigs:\n" + two + "---\n").replace("\n", "\r\n").encode()})
    yield "card-after-a-byte-order-mark", Scenario(parts | {"README.md": ("\ufeff---\nconfigs:\n" + two + "---\n").encode()})
    anchors = "configs:\n- &a\n  config_name: one\n  data_files: one/a.parquet\n- <<: *a\n  config_name: default\n"
    yield "card-with-anchors", Scenario(parts | card(anchors))
    flow = 'configs: [{config_name: default, data_files: [{split: train, path: "two/*"}]}]\n'
    yield "card-in-flow-style", Scenario(parts | card(flow))
    around = "license: mit\ntags:\n- a\nsize_categories: [n<1K]\n"
    yield "card-with-more", Scenario(parts | card(around + "configs:\n" + two + "task_categories:\n  - text-to-image\n"))
    standalone = {".huggingface.yaml": ("configs:\n" + one).encode()}
    yield "standalone-yaml", Scenario(parts | standalone)
    yield "standalone-yaml-over-the-card", Scenario(parts | standalone | card("configs:\n" + two))
    splits = "  splits:\n  - name: train\n    num_bytes: 1\n    num_examples: {}\n"
    yield "card-counts-rows", Scenario(parts | card("configs:\n" + one + "dataset_info:\n  config_name: one\n" + splits.format(3)))
    yield "card-counts-rows-wrong", Scenario(parts | card("configs:\n" + one + "dataset_info:\n  config_name: one\n" + splits.format(9)))
    yield "card-describes-another-config", Scenario(parts | card("dataset_info:\n- config_name: one\n" + splits.format(6)))
    yield "card-tells-more-splits", Scenario(
        parts | card("dataset_info:\n" + splits.format(6) + "  - name: test\n    num_bytes: 1\n    num_examples: 1\n"))  # fmt: skip
    yield "no-card-config-given", Scenario(parts, config="one")
    yield "no-card-config-default", Scenario(parts, config="default")
    yield "legacy-infos", Scenario(parts | {"dataset_infos.json": b'{"tester--legacy-infos": {"description": ""}}'})


# Folders of pictures
NAMES = ["b.png", "a.png", "10.png", "9.png", "C.png", "a b.png", "a-b.png", "\u00e4.png", "\u65e5\u672c.png", "a.b.png", "Z.PNG", "_.png"]
FOLDERS = ["a.d/", "a-2/", "a/", "A/", "10/", "9/", "_y/", "deep/er/", "deep/", "\u00e9/"]


def folder_scenarios():
    five = ["3.png", "1.png", "5.png", "2.png", "4.png"]
    below = [f"images/{name}" for name in five]
    yield "folder-jsonl", Scenario(folder(five))
    yield "folder-csv", Scenario(folder(below, write=comma_lines, file="metadata.csv"))
    yield "folder-in-train", Scenario(folder(five, at="train/"))
    yield "folder-csv-in-train", Scenario(folder(five, at="train/", write=comma_lines, file="metadata.csv"))
    yield "folder-splits", Scenario(folder(five, at="train/") | folder(five, 20, "test/") | folder(five, 40, "validation/"))
    yield "folder-splits-one-without", Scenario(folder(five, at="train/") | {f"test/{n}": d for n, d in pictures(five, 20).items()})
    table = pq_bytes(pa.table({"file_name": five, "text": [caption(i) for i in range(5)]}))
    yield "folder-parquet-metadata", Scenario(pictures(five) | {"metadata.parquet": table})
    yield "folder-two-kinds-of-metadata", Scenario(folder(five) | {"metadata.csv": comma_lines(five)})
    yield "folder-metadata-in-sub-folders", Scenario(
        folder(five, at="x/") | folder(five, 20, "a/b/") | folder(five, 40, "a-b/"), ordered=False)  # fmt: skip
    yield "folder-metadata-leaves-out", Scenario(folder(five) | pictures(["left.png", "0.png"], 30))
    yield "folder-metadata-names-a-missing-picture", Scenario({k: v for k, v in folder(five).items() if k != "5.png"})
    yield "folder-metadata-names-one-twice", Scenario(pictures(["a.png", "b.png"]) | {"metadata.jsonl": json_lines(["b.png", "a.png", "b.png"])})
    for name, path in (("parent", "../a.png"), ("absolute", "/etc/hostname"), ("address", "file:///etc/hostname")):
        yield f"folder-metadata-names-{name}", Scenario(pictures(["a.png", "in/b.png"]) | {"in/metadata.jsonl": json_lines([path])})
    yield "folder-lists-of-captions", Scenario(pictures(["a.png", "b.png"]) | {
        "metadata.jsonl": b'{"file_name": "b.png", "text": ["x", "y"]}\n{"file_name": "a.png", "text": ["z"]}\n'})  # fmt: skip
    yield "folder-other-columns", Scenario(
        pictures(["a.png"]) | {"metadata.jsonl": b'{"prompt": "p", "file_name": "a.png"}\n'}, caption_column="prompt")  # fmt: skip
    yield "folder-order", Scenario(pictures(NAMES))
    yield "folder-order-in-folders", Scenario(pictures([at + name for at in ["", *FOLDERS] for name in NAMES[:5]]))
    yield "folder-labels", Scenario(pictures(["cat/1.png", "dog/1.png", "cat/0.png"]))
    yield "folder-hidden", Scenario(pictures(
        ["a.png", ".h.png", ".hidden/x.png", "__MACOSX/x.png", "__f.png", "deep/__pycache__/x.png", "deep/.x/y.png", "deep/y.png"]))  # fmt: skip
    yield "folder-keyword-in-a-name", Scenario(pictures(["my training dog.png", "a.png", "b.png"]))
    yield "folder-keyword-in-some-names", Scenario(folder(["a_train_1.png", "train2.png", "test-1.png", "trains.png", "b.png"]))
    yield "folder-keyword-in-a-folder", Scenario(folder(["01-train_dogs/a.png", "cats/a.png"], at="") | folder(["x.png"], 9, "eval.d/"))
    yield "folder-data-folder", Scenario(folder(five, at="data/"))
    yield "folder-data-dir", Scenario(folder(five, at="one/") | folder(five, 20, "two/in/"), data_dir="two")
    yield "folder-data-dir-with-slash", Scenario(folder(five, at="one/") | folder(five, 20, "two/in/"), data_dir="two/in/")
    yield "folder-data-dir-of-splits", Scenario(folder(five, at="set/train/") | folder(five, 20, "set/test/"), data_dir="set")
    yield "folder-data-dir-not-there", Scenario(folder(five, at="one/"), data_dir="none")
    texts = {name.replace(".png", ".txt"): caption(i).encode() for i, name in enumerate(five)}
    yield "folder-text-files", Scenario(pictures(five) | texts)
    yield "folder-some-text-files", Scenario(pictures(five) | {"1.txt": b"one"})
    yield "folder-and-parquet", Scenario(folder(five) | {"z.parquet": parquet([50])})
    yield "folder-other-files", Scenario(folder(five) | {"LICENSE": b"mine", "notes.md": b"# notes", "show.py": b"", "a.json": b"{}"})
    yield "folder-damaged-picture", Scenario(folder(five) | {"2.png": b"no picture"})
    yield "folder-of-a-card", Scenario(card("configs:\n" + config("default", '"two/**"')) | folder(five, at="one/") | folder(five, 20, "two/"))
    yield "folder-of-a-card-by-split", Scenario(card("configs:\n" + config(
        "default", "\n  - split: train\n    path: one/**\n  - split: test\n    path: two/**"
    )) | folder(five, at="one/") | folder(five, 20, "two/"))  # fmt: skip
    yield "folder-of-a-card-pictures-only", Scenario(card("configs:\n" + config("default", '"two/*.png"')) | folder(five, 20, "two/"))
    yield "folder-of-a-card-data-dir", Scenario(
        card("configs:\n" + config("default", more="  data_dir: two\n")) | folder(five, at="one/") | folder(five, 20, "two/"))  # fmt: skip


# What else people keep there
def pq_bytes(table):
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return out.getvalue()


def other_scenarios():
    five = ["3.png", "1.png", "5.png", "2.png", "4.png"]
    yield "zip-of-pictures", Scenario({"pictures.zip": zipped(folder(five))})
    yield "zip-of-parquet", Scenario({"train.zip": zipped({"a.parquet": parquet(range(2))})})
    yield "tar-of-pictures", Scenario({"train.tar": tarred({"1.png": picture(1), "1.txt": b"one", "2.png": picture(2), "2.txt": b"two"})},
                                      image_column="png", caption_column="txt")  # fmt: skip
    yield "links", Scenario({"train.csv": b"image,text\nhttps://a.test/1.png,one\n"})
    yield "empty", Scenario({})
    yield "only-a-card", Scenario({"README.md": b"# Soon\n"})
    script = {"README.md": b"# By script\n", "{name}.py": b"import datasets\n", "pictures.zip": zipped(pictures(five))}
    converted = {"default/train/0001.parquet": parquet([1]), "default/train/0000.parquet": parquet([0]),
                 "default/test/0000.parquet": parquet([9])}  # fmt: skip
    yield "script", Scenario(script)
    yield "script-converted", Scenario(script, branches={CONVERTED: converted}, official={"revision": CONVERTED})
    several = {f"{name}/train/0000.parquet": parquet([i]) for i, name in enumerate(["first", "second"])}
    yield "script-converted-config", Scenario(script, config="second", branches={CONVERTED: several},
                                              official={"revision": CONVERTED, "config": None, "data_dir": "second"})  # fmt: skip
    partial = {"default/partial-train/0000.parquet": parquet([1])}
    yield "script-converted-in-part", Scenario(script, branches={CONVERTED: partial}, official={"revision": CONVERTED})
    yield "converted-beside-files", Scenario({"a.parquet": parquet([5])}, branches={CONVERTED: converted})


# Names and cards as they are met there
def met_scenarios():
    five = ["3.png", "1.png", "5.png", "2.png", "4.png"]
    hashed = {f"data/train-{i:05}-of-00002-ad5fd1bf4b4b4a1{i}.parquet": parquet([2 * i, 2 * i + 1]) for i in (1, 0)}
    old = ("dataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: text\n    dtype: string\n  splits:\n"
           "  - name: train\n    num_bytes: 9\n")  # fmt: skip
    yield "met-hashed-shards", Scenario(hashed | card(old + "    num_examples: 4\n"))
    named = "- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
    yield "met-card-of-push-to-hub", Scenario(hashed | card(f"{old}    num_examples: 4\nconfigs:\n{named}"))
    yield "met-shard-counts-differ", Scenario({"data/train-00000-of-00001.parquet": parquet([1]), "data/train-00001-of-00002.parquet": parquet([2])})
    yield "met-split-with-a-dot", Scenario({"data/train.clean-00000-of-00001.parquet": parquet([1]), "data/train-00000-of-00001.parquet": parquet([2])})
    yield "met-metadata-above-train", Scenario(folder([f"train/{name}" for name in five]))
    yield "met-metadata-beside-images", Scenario({f"data/images/{n}": d for n, d in pictures(five).items()}
                                                 | {"data/metadata.jsonl": json_lines([f"images/{n}" for n in five])})  # fmt: skip
    yield "met-folder-with-a-capital", Scenario(folder(five, at="Train/") | folder(five, 20, "Test/"), ordered=False)
    yield "met-a-dataset-in-train", Scenario(folder(five, at="dataset/train/") | folder(five, 20, "dataset/valid/"))
    yield "met-train-and-training", Scenario({"training/1.parquet": parquet([1]), "train/1.parquet": parquet([2]), "my_train/1.parquet": parquet([3])})
    yield "met-train-below-train", Scenario({"train/train/1.parquet": parquet([1]), "train/0.parquet": parquet([2])})
    yield "met-train-below-test", Scenario({"test/train/1.parquet": parquet([1]), "train/test/0.parquet": parquet([2])})
    yield "met-capital-file-name", Scenario({"Train.parquet": parquet([1]), "Test.parquet": parquet([2])})
    yield "met-numbered-split-files", Scenario({f"train{i}.parquet": parquet([i]) for i in (10, 2, 1)} | {"test1.parquet": parquet([99])})
    yield "met-other-endings", Scenario({"a.JPG": picture(1), "b.Jpeg": picture(2), "c.webp": picture(3, "WEBP"), "d.bmp": picture(4, "BMP"),
                                         "e.gif": picture(5, "GIF"), "f.PNG": picture(6), "g.tiff": picture(7, "TIFF")}
                                        | {"metadata.jsonl": json_lines(["f.PNG", "d.bmp", "g.tiff"])})  # fmt: skip
    yield "met-a-caption-is-empty", Scenario(pictures(["a.png", "b.png"]) | {"metadata.csv": b'file_name,text\na.png,""\nb.png,x\n'})
    yield "met-a-caption-is-null", Scenario(pictures(["a.png", "b.png"]) | {
        "metadata.jsonl": b'{"file_name": "a.png", "text": null}\n{"file_name": "b.png", "text": "x"}\n'})  # fmt: skip
    yield "met-a-caption-is-missing", Scenario(pictures(["a.png", "b.png"]) | {
        "metadata.jsonl": b'{"file_name": "a.png"}\n{"file_name": "b.png", "text": "x"}\n'})  # fmt: skip
    yield "met-metadata-of-several-columns", Scenario(pictures(["a.png", "b.png"]) | {
        "metadata.csv": b'id,text,file_name,w\n1,"one, two",b.png,3\n2,"say ""x""",a.png,4\n'})  # fmt: skip
    yield "met-metadata-with-crlf", Scenario(pictures(five) | {"metadata.jsonl": json_lines(five).replace(b"\n", b"\r\n")})
    yield "met-metadata-after-a-byte-order-mark", Scenario(pictures(five) | {"metadata.csv": b"\xef\xbb\xbf" + comma_lines(five)})
    yield "met-metadata-with-empty-lines", Scenario(pictures(five) | {"metadata.jsonl": json_lines(five).replace(b"\n", b"\n\n") + b"\n"})
    yield "met-metadata-is-no-json", Scenario(pictures(five) | {"metadata.jsonl": b"{oops\n"})
    yield "met-names-in-another-column", Scenario(pictures(["a.png"]) | {"metadata.jsonl": b'{"image_file_name": "a.png", "text": "x"}\n'})
    yield "met-names-in-an-image-column", Scenario(pictures(["a.png"]) | {"metadata.jsonl": b'{"image": "a.png", "text": "x"}\n'})
    yield "met-lower-case-readme", Scenario({"one.parquet": parquet([1]), "two.parquet": parquet([2]),
                                             "readme.md": b"---\nconfigs:\n- config_name: default\n  data_files: two.parquet\n---\n"})  # fmt: skip
    parts = {"two/a.parquet": parquet([21]), "two/b b.parquet": parquet([20]), "one.parquet": parquet([1]), "two/[x].parquet": parquet([22])}

    def with_card(configs, **more):
        return Scenario(parts | card("configs:\n" + configs), **more)

    for name, path in (("folder", "two"), ("folder-slash", '"two/"'), ("blank", '"two/b b.parquet"'),
                       ("brackets", '"two/[x].parquet"'), ("up-and-down", '"two/../one.parquet"'), ("slash", '"/one.parquet"'),
                       ("two-slashes", '"two//a.parquet"'), ("address", '"https://127.0.0.1:9/a.parquet"'), ("nothing", '""'),
                       ("no-list", "[]"), ("star-star-star", '"**/*"'), ("all", '"**"'), ("capital", '"TWO/A.parquet"'),
                       ("range", '"two/[a-b]*.parquet"'), ("hub-address", '"hf://datasets/tester/none/a.parquet"')):  # fmt: skip
        yield f"met-path-{name}", with_card(config("default", path))
    yield "met-config-in-quotes", with_card("- config_name: \"2024\"\n  data_files: one.parquet\n- config_name: b\n", config="2024")
    yield "met-config-with-a-letter", with_card(config("\u00fcn\u00ef", "one.parquet") + config("b", "two/a.parquet"), config="\u00fcn\u00ef")
    yield "met-default-in-words", with_card(config("a", "one.parquet") + config("b", "two/a.parquet", '  default: "yes"\n'))
    yield "met-card-says-text", with_card("- config_name: default\n  data_files: one.parquet\n  description: |\n    configs:\n    - none\n")
    yield "met-card-never-ends", Scenario(parts | {"README.md": b"---\nconfigs:\n- config_name: default\n  data_files: one.parquet\n"})
    yield "met-card-twice-fenced", Scenario(parts | card("configs:\n" + config("default", "one.parquet"), "---\nconfigs: 3\n---\n"))
    yield "met-card-with-dots", Scenario(parts | {"README.md": b"---\nconfigs:\n- config_name: default\n  data_files: one.parquet\n...\n---\n# x\n"})
    yield "met-card-with-tabs", Scenario(parts | {"README.md": b"---\nconfigs:\n\t- config_name: default\n---\n"})
    yield "met-card-after-empty-lines", Scenario(parts | {"README.md": b"\n\n---\nconfigs:\n- config_name: default\n  data_files: one.parquet\n---\n"})


def scenarios():
    """{name: Scenario}; the repository is OWNER/name."""
    found = {}
    for make in (parquet_scenarios, card_scenarios, folder_scenarios, other_scenarios, met_scenarios):
        for name, scenario in make():
            assert name not in found, name
            scenario.files = {path.replace("{name}", name): data for path, data in scenario.files.items()}
            found[name] = scenario
    return found


def put(hub, name, scenario):
    """Onto the loopback hub; the id."""
    id = f"{OWNER}/{name}"
    hub.put_repo(id, scenario.files, "dataset")
    for reference, files in scenario.branches.items():
        repo = hub.repo(id, "dataset")
        blobs = {path: repo.pointer(hub.lfs.put(data), len(data)) for path, data in files.items()}
        repo.commit(blobs, "converted", OWNER, None, reference)
    return id

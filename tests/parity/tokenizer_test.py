"""Our token ids beside Transformers', on generated texts and on every assigned code point."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import tokenizer as reference
from transformers import CLIPTokenizer

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("LORIKEET_BUILD_DIR", ROOT / "build")) / "tokenizer_tool"


def ask(folder, questions):
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([TOOL, folder], input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(questions)
    return answers


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Path of a tokenizer's folder by the name that tools/reference/tokenizer.py gives it."""
    base = tmp_path_factory.mktemp("tokenizers")

    def folder(name):
        if not (base / name).exists():
            reference.FOLDERS[name](base / name)
        return base / name

    return folder


def assert_same(texts, expected, actual):
    different = [(t, e, a) for t, e, a in zip(texts, expected, actual, strict=True) if e != a]
    assert not different, f"{len(different)} of {len(texts)} differ, the first: {different[0]!r}"


@pytest.mark.parametrize("name", ["sd1", "sd2", "embedded"])
def test_twenty_thousand_texts_get_the_same_ids(folders, name):
    texts = reference.random_texts(20_000, 1, reference.real_merges())
    expected = CLIPTokenizer.from_pretrained(folders(name))(texts).input_ids
    assert_same(texts, expected, ask(folders(name), [{"text": text} for text in texts]))


@pytest.mark.parametrize("name", [name for name in reference.FOLDERS if name not in {"sd1", "sd2", "embedded"}])
def test_every_way_of_keeping_a_tokenizer_is_read_alike(folders, name):
    texts = reference.random_texts(3_000, 2, reference.real_merges())
    expected = CLIPTokenizer.from_pretrained(folders(name))(texts).input_ids
    assert_same(texts, expected, ask(folders(name), [{"text": text} for text in texts]))


@pytest.mark.parametrize("name", ["sd1", "sd2", "embedded"])
@pytest.mark.parametrize("length", [2, 8, 77])
def test_texts_are_cut_and_padded_alike(folders, name, length):
    texts = ["", *reference.random_texts(500, 3, reference.real_merges())]
    peer = CLIPTokenizer.from_pretrained(folders(name))
    expected = peer(texts, padding="max_length", truncation=True, max_length=length)
    answers = ask(folders(name), [{"text": text, "max_length": length} for text in texts])
    assert_same(texts, expected.input_ids, [answer["ids"] for answer in answers])
    assert_same(texts, expected.attention_mask, [answer["mask"] for answer in answers])


@pytest.mark.parametrize("name", ["sd1", "sd2", "stripping", "embedded"])
def test_ids_are_decoded_alike(folders, name):
    peer = CLIPTokenizer.from_pretrained(folders(name))
    rows = peer(reference.random_texts(2_000, 4, reference.real_merges())).input_ids
    rows += [row[start:] for row in rows for start in (1, 5)]
    expected = [peer.decode(row) for row in rows]
    assert_same(rows, expected, ask(folders(name), [{"decode": row} for row in rows]))


def test_every_character_is_treated_alike(folders):
    """Alone, between letters and under an accent, so that class, case and composition are all seen. Every code point
    of the planes that hold characters, assigned or not, since each library follows another version of Unicode."""
    points = [*range(0x40000), *range(0xE0000, 0xE0200), 0xF0000, 0xFFFFF, 0x10FFFF]
    texts = [f"{c} a{c}b e{c}\u0301" for c in map(chr, points) if reference.is_text(ord(c))]
    expected = CLIPTokenizer.from_pretrained(folders("sd1"))(texts).input_ids
    assert_same(texts, expected, ask(folders("sd1"), [{"text": text} for text in texts]))

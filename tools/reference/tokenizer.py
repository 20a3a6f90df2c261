"""Texts, tokenizer folders and reference ids for the CLIP tokenizer.

tests/parity/tokenizer_test.py takes folders and texts from here. The committed ids are made with
transformers 5.23.0 and tokenizers 0.23.3:

    .venv-parity/bin/python tools/reference/tokenizer.py > tests/data/tokenizer_reference.json
"""

import gzip
import importlib.util
import json
import random
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "models/lorikeet-base/tokenizer"
START, END = "<|startoftext|>", "<|endoftext|>"

PHRASES = """a photo of sks dog
A cat in the snow, oil on canvas, 4k, trending on artstation
portrait of a woman (red hair:1.3), [blurry], highly detailed
I'm sure they'll say it's what we've got; you're right, he'd know, don't
I'M SURE THEY'LL SAY IT'S WHAT WE'VE GOT
'sand 'tis 're 've'll'd''m '''s 'S
12345 3.14159 2nd 1st ½ Ⅷ ٣٤ ²
hi!! there ! !a! ! ! !!!
naïve café CAFÉ cafe\u0301 A\u030a ﬁancé Ǆ ǅ ſ ß ẞ
İstanbul ISPARTA ΣΊΣΥΦΟΣ Ωμέγα Å
日本語のテキスト 中文字符 한국어 \u1112\u1161\u11ab ไทย हिन्दी العربية עברית
👩‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️ 🤖🧡 ☺︎
zero\u200bwidth soft\u00adhyphen bom\ufeff joined\u200dnot\u200cjoined
tab\tnewline\nreturn\rformfeed\fvertical\vnext\u0085nbsp\u00a0wide\u3000line\u2028para\u2029
\u0000\u0001\u001c\u001d\u001e\u001f\u007f\u0080\u009f
\ufffd \ufffe \uffff \U0010ffff \ue000 \U000e0041
<|startoftext|> <|endoftext|> a<|endoftext|>b <|ENDOFTEXT|> <|StartOfText|> <|endoftext| > <|endoftext|>'s
!<|endoftext|>! <|<|endoftext|>|> 's<|startoftext|>
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
... --- *** ??? !?!? @#$%^&*()_+-={}[]|\\:";<>,./~`
https://example.org/a?b=c&d=%20 user@example.org #hashtag @mention snake_case CamelCase kebab-case
e\u0301\u0301\u0323 \u0301start q\u0307\u0323 \u0f71\u0f72 \u1e9b\u0323
   spaces   all    round   """.split("\n")

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ '",
    "0123456789 .,-",
    " \t\n\r\u00a0\u2003\u3000a",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ",
    "aeiou\u0300\u0301\u0308\u0323\u0327\u0345\u200d",
    "'strevmlld ",
    "<|endofstartx|>! ",
]
RANGES = [(0x20, 0x7F), (0x80, 0x250), (0x300, 0x600), (0x900, 0xE00), (0x1100, 0x1200), (0x1E00, 0x2100),
          (0x2100, 0x2C00), (0x3040, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0xF900, 0xFB00), (0x1D400, 0x1D500),
          (0x1F300, 0x1F700), (0x0, 0x30), (0x2000, 0x2070), (0x10000, 0x10FFFF)]  # fmt: skip


def real_merges():
    """The merges of OpenAI's CLIP, as open_clip_torch ships them."""
    package = Path(importlib.util.find_spec("open_clip").origin).parent
    with gzip.open(package / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
        return file.read().split("\n")[1 : 49152 - 256 - 2 + 1]


def byte_alphabet():
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def write_vocabulary(folder):
    folder.mkdir(parents=True)
    merges = real_merges()
    tokens = byte_alphabet()
    tokens += [token + "</w>" for token in tokens]
    tokens += ["".join(merge.split()) for merge in merges] + [START, END]
    write_json(folder / "vocab.json", {token: i for i, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")


def described(content, normalized=True, **more):
    return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False, **more}


def write_sd1(folder):
    """As the published Stable Diffusion 1.5 has its tokenizer."""
    write_vocabulary(folder)
    tokens = {"bos_token": described(START), "eos_token": described(END)}
    write_json(folder / "special_tokens_map.json", {**tokens, "pad_token": END, "unk_token": described(END)})
    typed = {key: {"__type": "AddedToken", **token} for key, token in tokens.items()}
    write_json(folder / "tokenizer_config.json", {
        "add_prefix_space": False, **typed, "do_lower_case": True, "errors": "replace", "model_max_length": 77,
        "name_or_path": "openai/clip-vit-large-patch14", "pad_token": END, "tokenizer_class": "CLIPTokenizer",
        "unk_token": {"__type": "AddedToken", **described(END)}})  # fmt: skip


def write_sd2(folder):
    """As Stable Diffusion 2.1: the pad token is `!`, so every `!` of a text is cut out of it."""
    write_sd1(folder)
    path = folder / "special_tokens_map.json"
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), "pad_token": "!"})


def write_sdxl2(folder):
    """As SDXL's tokenizer_2, with the newer added_tokens_decoder."""
    write_sd2(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    decoder = {"0": described("!", normalized=False, special=True), "49406": described(START, special=True),
               "49407": described(END, special=True)}  # fmt: skip
    write_json(path, {**config, "bos_token": START, "eos_token": END, "unk_token": END, "pad_token": "!",
                      "added_tokens_decoder": decoder})  # fmt: skip


def write_added(folder):
    """Textual-inversion words, in the file that older Transformers wrote."""
    write_sd1(folder)
    write_json(folder / "added_tokens.json", {"<sks>": 49408, "MixedCase": 49409, "<sks>_1": 49410})


def write_bare(folder):
    """Vocabulary and merges alone."""
    write_vocabulary(folder)


def write_embedded(folder):
    shutil.copytree(EMBEDDED, folder)


def write_resaved(folder, original, tokens=()):
    """`original` loaded and saved by Transformers 5: a lone tokenizer.json with its config."""
    from transformers import CLIPTokenizer

    original(folder.with_name(folder.name + "_original"))
    tokenizer = CLIPTokenizer.from_pretrained(folder.with_name(folder.name + "_original"))
    tokenizer.add_tokens(list(tokens))
    tokenizer.save_pretrained(folder)


def write_sd1_resaved(folder):
    write_resaved(folder, write_sd1)


def write_sd2_resaved(folder):
    write_resaved(folder, write_sd2)


def write_stripping(folder):
    """Added tokens with every property there is."""
    from tokenizers import AddedToken

    write_resaved(folder, write_sd1, [
        AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True, special=True),
        AddedToken("word", single_word=True), AddedToken("CASED", normalized=False), AddedToken("Lowered"),
        AddedToken("<both>", lstrip=True, rstrip=True, normalized=False), "plain", "plainer"])  # fmt: skip


def write_tokenizer_json_only(folder):
    """A tokenizer.json and nothing else."""
    write_resaved(folder, write_sd1)
    (folder / "tokenizer_config.json").unlink()


FOLDERS = {
    "sd1": write_sd1,
    "sd2": write_sd2,
    "sdxl2": write_sdxl2,
    "added": write_added,
    "bare": write_bare,
    "embedded": write_embedded,
    "sd1_resaved": write_sd1_resaved,
    "sd2_resaved": write_sd2_resaved,
    "stripping": write_stripping,
    "tokenizer_json_only": write_tokenizer_json_only,
}

MARKERS = [START, END, START.upper(), "!", "<sks>", "<sks>_1", "MixedCase", "mixedcase", " <left>", "  <right>  ", "word",
           "words", "CASED", "cased", "LOWERED", " <both> ", "plain", "plainer", "'s", "İ", "\u00a0", "\u0301"]  # fmt: skip


def is_text(code_point):
    """Whether UTF-8 can hold it."""
    return not 0xD800 <= code_point < 0xE000


def random_text(rng, words):
    """One text of a random kind; `words` are pieces of real vocabulary."""
    kind = rng.randrange(6)
    length = rng.choice([1, 2, 3, 5, 8, 13, 21, 40])
    if kind == 0:
        return " ".join(rng.choice(words) for _ in range(length * rng.choice([1, 1, 4])))
    if kind == 1:
        alphabet = rng.choice(ALPHABETS)
        return "".join(rng.choice(alphabet) for _ in range(length * rng.choice([1, 1, 10])))
    if kind == 2:
        low, high = rng.choice(RANGES)
        return "".join(chr(c) for c in (rng.randrange(low, high) for _ in range(length)) if is_text(c))
    if kind == 3:
        return "".join(rng.choice(PHRASES + MARKERS + words[:2000]) for _ in range(rng.randrange(1, 6)))
    if kind == 4:
        return rng.choice(["", " ", ", "]).join(rng.choice(MARKERS + words[:200]) for _ in range(length))
    pieces = [rng.choice(words), rng.choice(PHRASES), rng.choice(MARKERS), chr(rng.choice([0x301, 0x1F600, 0x4E2D, 0x7F]))]
    rng.shuffle(pieces)
    return rng.choice([str.upper, str.lower, str.title, str])("".join(pieces))


def vocabulary_words(merges):
    """What the merges spell, as readable words where they are ASCII."""
    words = ["".join(merge.split()).replace("</w>", "") for merge in merges]
    return sorted({word for word in words if word.isascii()})


def random_texts(count, seed, merges):
    rng = random.Random(seed)
    words = vocabulary_words(merges)
    rng.shuffle(words)
    return PHRASES + [random_text(rng, words) for _ in range(count - len(PHRASES))]


def main():
    import tokenizers
    import transformers

    tokenizer = transformers.CLIPTokenizer.from_pretrained(EMBEDDED)
    merges = (EMBEDDED / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    texts = random_texts(300, 0, merges)
    cases = [{"text": text, "ids": tokenizer(text).input_ids} for text in texts]
    print(json.dumps({
        "made_with": f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}",
        "padded": tokenizer("a photo of sks dog", padding="max_length", truncation=True, max_length=77).input_ids,
        "cases": cases}, separators=(",", ":")))  # fmt: skip


if __name__ == "__main__":
    main()

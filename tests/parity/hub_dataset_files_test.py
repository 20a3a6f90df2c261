"""Which files of a data set are its train split, in which order: ours beside `datasets`, on random trees and patterns."""

import json
import random

import hub_dataset_test
import hub_datasets
import pytest
from hub_dataset_scenarios import Scenario, card, json_lines, parquet, pictures, put
from hub_server import HubServer

WORDS = ["train", "training", "test", "eval", "dev", "val", "valid", "validation", "testing", "evaluation", "data", "a", "B", "x1", "\u00e9",
         "Train", "pretrain", "trains"]  # fmt: skip
BETWEEN = ["-", "_", ".", " ", "0", "7"]
SPECIAL = [".h", "__pycache__", "set", "data", "a", "train"]
PARTS = ["*", "**", "train", "data", "a*", "[a-b]*", "*train*", "?", "*.parquet", "[!a]*", "*-*", "B", "x1", "train*", "set", "t*[nt]",
         "[0-9]*", "*\u00e9*", "a.parquet", "train.parquet", ".h", "__pycache__", "*_*"]  # fmt: skip


def name(choose):
    text = choose.choice(WORDS)
    for _ in range(choose.choice([0, 0, 0, 1, 1, 2])):
        text += choose.choice(BETWEEN) + choose.choice([*WORDS, "3", "00000-of-00002", "x"])
    return text


def folder(choose):
    return "".join(choose.choice([name(choose), choose.choice(SPECIAL)]) + "/" for _ in range(choose.choice([1, 1, 2, 3])))


def pattern(choose, files):
    if choose.random() < 0.2:
        return choose.choice(sorted(files))
    parts = [choose.choice(PARTS) for _ in range(choose.choice([1, 1, 2, 2, 3]))]
    return "/".join([*parts[:-1], choose.choice([parts[-1], "*.parquet", "**"])])


def parquet_tree(seed):
    """Every other one with a card, the others by their names."""
    choose = random.Random(seed)
    folders = [""] + [folder(choose) for _ in range(choose.randint(0, 4))]
    names = {choose.choice(folders) + name(choose) for _ in range(choose.randint(3, 14))}
    if choose.random() < 0.2:
        names |= {f"data/{choose.choice(['train', 'test', 'x'])}-0000{i}-of-00003" for i in range(3)}
    files = {f"{path}.parquet": parquet([i]) for i, path in enumerate(sorted(names))}
    if seed % 2:
        lines = [f"  - {json.dumps(pattern(choose, files), ensure_ascii=False)}\n" for _ in range(choose.choice([1, 1, 2]))]
        return Scenario(files | card("configs:\n- config_name: default\n  data_files:\n" + "".join(lines)))
    inside = sorted({path.rsplit("/", 1)[0] for path in files if "/" in path})
    return Scenario(files, data_dir=choose.choice(inside) if inside and choose.random() < 0.3 else None)


def picture_tree(seed):
    """All pictures in one folder, with rows in an order of their own; other splits beside it."""
    choose = random.Random(seed)
    above, words = choose.choice(["", "data/", "a/b/"]), ["train", "training", "images", "10_train"]
    names = sorted({f"{choose.choice(['', 'in/', 'deep/er/'])}{choose.choice('abcXYZ019')}{i}.png" for i in range(choose.randint(2, 9))})
    at, files = f"{above}{choose.choice(words)}/", {}
    rows = choose.sample(names, len(names))
    files |= {at + path: data for path, data in pictures(names).items()} | {f"{at}metadata.jsonl": json_lines(rows)}
    if "train" in at and choose.random() < 0.5:
        files |= {f"{above}test/{path}": data for path, data in pictures(names, 30).items()} | {f"{above}test/metadata.jsonl": json_lines(rows)}
    return Scenario(files, data_dir=above.rstrip("/") or None if choose.random() < 0.3 else None)


@pytest.mark.parametrize("make, count", [(parquet_tree, 40), (picture_tree, 10),
                                         pytest.param(parquet_tree, 400, marks=pytest.mark.full)])  # fmt: skip
def test_the_files_of_random_data_sets(make, count, tmp_path, monkeypatch):
    start = 0 if count < 100 else 1000
    scenarios = {f"random-{seed}": make(seed) for seed in range(start, start + count)}
    official = hub_datasets.record(scenarios=scenarios)
    read = 0
    with HubServer(tmp_path / "hub") as hub:
        for repo, scenario in scenarios.items():
            put(hub, repo, scenario)
            monkeypatch.setitem(hub_dataset_test.SCENARIOS, repo, scenario)
            answer = hub_dataset_test.ask(hub, tmp_path / repo, repo)
            if "error" in official[repo]:
                assert "error" in answer, (repo, list(scenario.files), official[repo], answer)
            else:
                assert "records" in answer, (repo, list(scenario.files), answer)
                assert hub_dataset_test.rows(answer) == official[repo]["rows"], (repo, list(scenario.files))
                read += 1
    assert read > count // 3

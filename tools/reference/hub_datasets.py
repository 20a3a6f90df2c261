"""What `datasets` reads of data sets on the Hub: pictures and captions in their order, or the error.

    python tools/reference/hub_datasets.py tests/data/hub_datasets.json [SCENARIO...]

datasets 5.2.0, huggingface_hub 2.4.0. The data sets of tests/hub_dataset_scenarios.py lie on the loopback hub of the tests;
each is loaded as Diffusers' train_text_to_image_lora.py loads --dataset_name: load_dataset(name, config, data_dir=...)
["train"], then the two columns. Of each: "rows", [[the pixels' id, caption]...] (no caption: null), "columns" and, where
the script would end, "error" with "at": "load", "split", "columns" (one is missing), "captions" or "pictures". Without
file, or with scenarios, it is printed.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))


def asked(name, scenario):
    keys = ("config", "data_dir", "image_column", "caption_column")
    return {"id": f"tester/{name}", "revision": None} | {key: getattr(scenario, key) for key in keys} | scenario.official


def load(request):
    """In a process whose environment names the loopback hub."""
    import datasets

    at, answer = "load", {}
    try:
        loaded = datasets.load_dataset(request["id"], request["config"], data_dir=request["data_dir"], revision=request["revision"])
        at = "split"
        train = loaded["train"]
        answer["columns"] = train.column_names
        at = "pictures"
        answer["rows"] = [[pixel_id(row.get(request["image_column"])), spoken(row.get(request["caption_column"]))] for row in train]
        at = "columns"
        missing = [request[key] for key in ("image_column", "caption_column") if request[key] not in train.column_names]
        if missing:
            raise ValueError(f"no column {missing}")
        at = "captions"
        if any(text is None for _, text in answer["rows"]):
            raise ValueError("a caption is no text")
    except Exception as error:
        answer |= {"error": type(error).__name__, "at": at}
        print(f"{request['id']}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
    return answer


def pixel_id(image):
    from hub_dataset_scenarios import picture_id

    return image and picture_id(image.convert("RGB").tobytes())


def spoken(text):
    return text if isinstance(text, (str, list)) else None


def record(names=(), verbose=False, scenarios=None):
    """{scenario: answer} of the library that this Python has; `names` chooses some; `scenarios`: others than those."""
    import hub_dataset_scenarios
    from hub_server import HubServer

    scenarios = scenarios or hub_dataset_scenarios.scenarios()
    chosen = {name: scenarios[name] for name in names or scenarios}
    with tempfile.TemporaryDirectory() as folder, HubServer(Path(folder) / "hub") as hub:
        for name, scenario in chosen.items():
            hub_dataset_scenarios.put(hub, name, scenario)
        lines = "".join(json.dumps(asked(name, scenario)) + "\n" for name, scenario in chosen.items())
        env = hub.environment(Path(folder) / "home")
        done = subprocess.run([sys.executable, __file__, "--load"], input=lines, env=env, stdout=subprocess.PIPE, text=True,
                              stderr=None if verbose else subprocess.PIPE)  # fmt: skip
        assert done.returncode == 0, done.stderr
    answers = dict(zip(chosen, map(json.loads, done.stdout.splitlines()), strict=True))
    for name, answer in answers.items():
        if not chosen[name].ordered:
            answer["rows"].sort(key=lambda row: row[1])
    return answers


def main():
    if sys.argv[1:] == ["--load"]:
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        for line in sys.stdin:
            print(json.dumps(load(json.loads(line))), flush=True)
        return
    names = [word for word in sys.argv[1:] if not word.endswith(".json")]
    answers = record(names, verbose=bool(names) or len(sys.argv) == 1)
    text = "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(answer, ensure_ascii=False)}" for name, answer in answers.items()) + "\n}\n"
    if len(sys.argv) == 2 and not names:
        Path(sys.argv[1]).write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()

"""Writes tests/data/dreambooth_flags.json: every flag of Diffusers' train_dreambooth_lora.py with its type, default,
choices and whether it is required, as the script's own argument parser holds them.

    python tools/reference/dreambooth_flags.py train_dreambooth_lora.py tests/data/dreambooth_flags.json

The script is examples/dreambooth/train_dreambooth_lora.py of huggingface/diffusers at commit 58eb52c0; torchvision
0.26.0 supplies the names of the interpolation modes.
"""

import argparse
import ast
import json
import os
import sys
import warnings
from pathlib import Path


class ParserIsReady(Exception):
    pass


def recorded_parser(source):
    """The parser `parse_args` builds, without importing the script and all that it imports."""
    from torchvision import transforms

    tree = ast.parse(source)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "parse_args")
    built = []

    class Recorder(argparse.ArgumentParser):
        def parse_args(self, *args, **kwargs):
            built.append(self)
            raise ParserIsReady

    class RecordingArgparse:
        ArgumentParser = Recorder

    scope = {"argparse": RecordingArgparse, "transforms": transforms, "os": os, "warnings": warnings}
    exec(compile(ast.Module([function], []), "train_dreambooth_lora.py", "exec"), scope)
    try:
        scope["parse_args"]([])
    except ParserIsReady:
        pass
    return built[0]


def describe(action):
    kinds = {int: "int", float: "float", str: "str", None: "str"}
    kind = "flag" if action.nargs == 0 else "list" if action.nargs == "+" else kinds[action.type]
    return {
        "name": action.dest,
        "type": kind,
        "default": action.default,
        "choices": sorted(action.choices) if action.choices else None,
        "required": action.required,
    }


def main():
    script, target = map(Path, sys.argv[1:])
    actions = [action for action in recorded_parser(script.read_text())._actions if action.dest != "help"]
    lines = ",\n".join(json.dumps(describe(action)) for action in actions)
    target.write_text(f"[\n{lines}\n]\n")
    print(f"{len(actions)} flags written to {target}")


if __name__ == "__main__":
    main()

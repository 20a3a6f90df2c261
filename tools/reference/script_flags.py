"""Writes every flag of one of Diffusers' training scripts with its type, default, choices and whether it is required, as the
script's own argument parser holds them.

    python tools/reference/script_flags.py train_dreambooth_lora.py tests/data/dreambooth_flags.json
    python tools/reference/script_flags.py train_text_to_image_lora.py tests/data/text_to_image_flags.json

The scripts are those of examples/dreambooth and examples/text_to_image in huggingface/diffusers at commit 58eb52c0;
torchvision 0.26.0 supplies the names of the interpolation modes.
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


def recorded_parser(script):
    """The parser `parse_args` builds, without importing the script and all that it imports."""
    from torchvision import transforms

    tree = ast.parse(script.read_text())
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "parse_args")
    built = []

    class Recorder(argparse.ArgumentParser):
        def parse_args(self, *args, **kwargs):
            built.append(self)
            raise ParserIsReady

    class RecordingArgparse:
        ArgumentParser = Recorder

    scope = {"argparse": RecordingArgparse, "transforms": transforms, "os": os, "warnings": warnings}
    exec(compile(ast.Module([function], []), str(script), "exec"), scope)
    try:
        scope["parse_args"](*([[]] if function.args.args else []))
    except ParserIsReady:
        pass
    return built[0]


def describe(action):
    kinds = {int: "int", float: "float", str: "str", None: "str"}
    kind = "flag" if action.nargs == 0 else "list" if action.nargs == "+" else kinds[action.type]
    # One script writes a float's default as 0.
    default = float(action.default) if kind == "float" and action.default is not None else action.default
    return {
        "name": action.dest,
        "type": kind,
        "default": default,
        "choices": sorted(action.choices) if action.choices else None,
        "required": action.required,
    }


def main():
    script, target = map(Path, sys.argv[1:])
    actions = [action for action in recorded_parser(script)._actions if action.dest != "help"]
    lines = ",\n".join(json.dumps(describe(action)) for action in actions)
    target.write_text(f"[\n{lines}\n]\n")
    print(f"{len(actions)} flags written to {target}")


if __name__ == "__main__":
    main()

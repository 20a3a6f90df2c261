#!/usr/bin/env python3
"""Checks that includes go only down the layers of docs/architecture.md, and that torch stays out of headers.

Run from anywhere: scripts/check_layers.py [ROOT]. Exit 1 and one line per violation; sizes are warnings only.
"""

import re
import sys
from pathlib import Path

LAYERS = {
    "core": set(),
    "io": {"core"},
    "hub": {"core"},
    "schedulers": {"core"},
    "tracking": {"core"},
    "engine": {"core"},
    "models": {"io", "engine", "core"},
    "lora": {"models", "io", "engine", "core"},
    "data": {"io", "hub", "engine", "core"},
    "pipelines": {"lora", "models", "schedulers", "hub", "io", "engine", "core"},
    "training": {"pipelines", "data", "lora", "models", "schedulers", "tracking", "io", "engine", "core"},
}
LAYERS["cli"] = set(LAYERS)

TORCH_FREE = {"core", "hub", "tracking"}
TORCH_IN_HEADERS = {"torch/types.h", "torch/nn/module.h"}
TORCH_PREFIXES = ("torch/", "ATen/", "c10/")
LOGGING_PREFIXES = ("fmt/", "spdlog/")  # torch ships another fmt: both in one source do not compile or, worse, link
LOGGING_LAYERS = {"core", "hub", "tracking"}
HEADER_LINES, SOURCE_LINES = 150, 600

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def check_file(path, layer, name, text):
    """Yields the rule violations of one file; `name` is how messages call it."""
    header = path.suffix == ".h"
    if header and "#pragma once" not in text:
        yield f"{name}: no #pragma once"
    for match in INCLUDE.finditer(text):
        quote, included = match.groups()
        where = f"{name}:{text.count(chr(10), 0, match.start(2)) + 1}"
        torch = included.startswith(TORCH_PREFIXES)
        if quote == '"':
            target = included.split("/")[0]
            if target not in LAYERS or "/" not in included:
                yield f'{where}: "{included}" does not begin with a layer; expected "layer/file.h"'
            elif target != layer and target not in LAYERS[layer]:
                allowed = ", ".join(sorted(LAYERS[layer])) or "nothing"
                yield f"{where}: {layer} may not include {target}; it may include {allowed}"
        elif included.split("/")[0] in LAYERS and "/" in included:
            yield f'{where}: <{included}> is ours; expected "{included}"'
        if torch and layer in TORCH_FREE:
            yield f"{where}: {layer} stays free of torch, but includes <{included}>"
        elif torch and header and included not in TORCH_IN_HEADERS:
            yield f"{where}: headers include only <torch/types.h> and <torch/nn/module.h>, not <{included}>"
        if included.startswith(LOGGING_PREFIXES) and layer not in LOGGING_LAYERS:
            yield f"{where}: log through core/log.h; <{included}> clashes with torch's own fmt"


def size_warning(path, name, text):
    limit = HEADER_LINES if path.suffix == ".h" else SOURCE_LINES
    lines = text.count("\n")
    return f"{name}: {lines} lines; over {limit}, a file asks to be two" if lines > limit else None


def check_tree(root):
    """Returns (violations, warnings, files seen) of root/src."""
    violations, warnings, seen = [], [], 0
    for path in sorted((root / "src").rglob("*")):
        if path.suffix not in {".h", ".cpp"}:
            continue
        name = path.relative_to(root).as_posix()
        layer = path.relative_to(root / "src").parts[0]
        if layer not in LAYERS:
            violations.append(f"{name}: unknown layer '{layer}'; expected one of {', '.join(LAYERS)}")
            continue
        seen += 1
        text = path.read_text(encoding="utf-8")
        violations.extend(check_file(path, layer, name, text))
        warning = size_warning(path, name, text)
        if warning:
            warnings.append(warning)
    return violations, warnings, seen


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    violations, warnings, seen = check_tree(root)
    for line in warnings:
        print(f"warning: {line}")
    for line in violations:
        print(f"error: {line}", file=sys.stderr)
    if not seen:
        print(f"error: no sources under {root}/src", file=sys.stderr)
        return 1
    if not violations:
        print(f"Layers are in order ({seen} files).")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())

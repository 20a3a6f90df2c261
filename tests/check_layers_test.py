"""scripts/check_layers.py finds what it says it finds."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "check_layers.py"


def run(root, files):
    for name, text in files.items():
        path = root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True)


def test_a_tree_in_order_passes(tmp_path):
    result = run(tmp_path, {
        "core/a.h": "#pragma once\n#include <string>\n",
        "models/m.h": '#pragma once\n#include <torch/types.h>\n#include "core/a.h"\n',
        "models/m.cpp": '#include "models/m.h"\n#include <ATen/ATen.h>\n',
        "cli/main.cpp": '#include "models/m.h"\n',
    })
    assert result.returncode == 0, result.stderr
    assert "4 files" in result.stdout


@pytest.mark.parametrize("name, text, message", [
    ("core/a.cpp", '#include "io/b.h"\n', "src/core/a.cpp:1: core may not include io; it may include nothing"),
    ("models/a.cpp", '\n#include "lora/b.h"\n', "src/models/a.cpp:2: models may not include lora"),
    ("io/a.cpp", '#include "b.h"\n', '"b.h" does not begin with a layer'),
    ("io/a.cpp", "#include <core/a.h>\n", 'expected "core/a.h"'),
    ("hub/a.cpp", "#include <torch/types.h>\n", "hub stays free of torch"),
    ("lora/a.h", "#pragma once\n#include <torch/torch.h>\n", "headers include only <torch/types.h>"),
    ("lora/a.h", "#include <vector>\n", "no #pragma once"),
    ("training/a.cpp", "#include <fmt/format.h>\n", "log through core/log.h"),
    ("utils/a.cpp", "\n", "unknown layer 'utils'"),
])
def test_a_violation_is_named_with_its_place(tmp_path, name, text, message):
    result = run(tmp_path, {"core/fine.cpp": "\n", name: text})
    assert result.returncode == 1
    assert message in result.stderr


def test_a_long_file_is_only_a_warning(tmp_path):
    result = run(tmp_path, {"core/a.h": "#pragma once\n" + "\n" * 150})
    assert result.returncode == 0
    assert "warning: src/core/a.h: 151 lines" in result.stdout


def test_a_tree_without_sources_is_an_error(tmp_path):
    result = run(tmp_path, {})
    assert result.returncode == 1
    assert "no sources" in result.stderr

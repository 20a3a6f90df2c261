"""What the live comparisons share: the program, tiny models, and the folder of reference tools on the path."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/reference"))
sys.path.append(str(ROOT / "tests"))  # what the other tests share
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def lorikeet():
    """Runs the program with `arguments`; fails with its own words when it does."""
    program = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))

    def run(*arguments):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
        return done

    return run


@pytest.fixture(scope="session")
def base_model():
    return ROOT / "models/lorikeet-base"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of the tiny random model of a kind ("sd1", "sd2"), made on first use."""
    import tiny_models

    made = {}

    def model(kind):
        if kind not in made:
            made[kind] = tiny_models.make(kind, tmp_path_factory.mktemp("tiny") / kind)
        return made[kind]

    return model

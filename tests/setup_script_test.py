"""scripts/setup.sh on machines that lack something, played by stand-ins for the system's commands."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def tree(tmp_path):
    """A copy of the scripts alone, and a folder of stand-ins that comes first on the PATH."""
    shutil.copytree(ROOT / "scripts", tmp_path / "tree" / "scripts")
    (tmp_path / "bin").mkdir()
    return tmp_path


def stand_in(tree, name, body):
    path = tree / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def setup(tree, mode="build"):
    environment = {"PATH": f"{tree}/bin:/usr/bin:/bin", "LORIKEET_CUDA": "0"}
    return subprocess.run(["/bin/bash", tree / "tree/scripts/setup.sh", mode], env=environment, capture_output=True,
                          text=True, stdin=subprocess.DEVNULL)


def test_an_unknown_mode_is_refused(tree):
    result = setup(tree, "everything")
    assert result.returncode == 1
    assert "unknown mode 'everything'; expected build, test or parity" in result.stderr


def test_without_root_and_without_sudo_it_prints_the_one_line_to_run(tree):
    stand_in(tree, "dpkg-query", "exit 1")
    stand_in(tree, "id", "echo 1000")
    stand_in(tree, "sudo", "exit 1")
    result = setup(tree)
    assert result.returncode == 1
    line = next(l for l in result.stdout.splitlines() if l.lstrip().startswith("sudo apt-get update && "))
    for package in ("cmake", "python3-venv", "libjpeg62-turbo-dev", "libicu-dev"):
        assert f" {package} " in line + " "
    assert not (tree / "tree/.venv").exists()


def test_a_full_disk_is_noticed_before_anything_is_installed(tree):
    stand_in(tree, "df", "echo header; echo /dev/x 9000 8000 1000 90% /")
    stand_in(tree, "apt-get", f"touch {tree}/called")
    result = setup(tree)
    assert result.returncode == 1
    assert "1000 MB free" in result.stderr and "at least 4 GB" in result.stderr
    assert not (tree / "called").exists()


def test_a_failing_apt_get_shows_its_own_last_words(tree):
    stand_in(tree, "dpkg-query", "exit 1")
    stand_in(tree, "id", "echo 0")
    stand_in(tree, "df", "echo header; echo /dev/x 9 8 90000 9% /")
    stand_in(tree, "apt-get", "echo E: no such mirror; exit 100")
    result = setup(tree)
    assert result.returncode == 1
    assert "E: no such mirror" in result.stderr
    assert "apt-get could not install: cmake" in result.stderr


def test_nothing_is_done_and_said_when_all_is_present(tree):
    """The stamps are taken from a run that installs into a stand-in venv."""
    stand_in(tree, "dpkg-query", 'shift 2; for p; do printf "%s/installed " "$p"; done')
    (tree / "tree/.venv/bin").mkdir(parents=True)
    shutil.copy("/bin/true", tree / "tree/.venv/bin/python")
    for name in ("lorikeet-build", "lorikeet-test"):
        shutil.copy(ROOT / ".venv" / name, tree / "tree/.venv" / name)
    result = setup(tree, "test")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")

"""What a person sees while large files go up: `hub upload`, a bar for each with its rate and the time left."""

import os
import pty
import re
import subprocess
import time

import hub_server
import pytest
from hub_server import HubServer

PROGRAM = os.environ.get("LORIKEET_BUILD_DIR", "build") + "/hub_program"  # the Hub's commands alone: it starts at once
SIZE = 24_000_000


@pytest.fixture
def slow(monkeypatch):
    """A storage that takes two seconds for it."""
    pieces = hub_server.Handler.pieces

    def slowly(handler):
        for piece in pieces(handler):
            time.sleep(2 * len(piece) / SIZE)
            yield piece

    monkeypatch.setattr(hub_server.Handler, "pieces", slowly)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "output").mkdir()
    (tmp_path / "output/pytorch_lora_weights.safetensors").write_bytes(os.urandom(SIZE))
    (tmp_path / "output/small.safetensors").write_bytes(b"small")
    return tmp_path / "output"


def on_a_terminal(hub, tmp_path, folder):
    """All that was written to standard error."""
    master, terminal = pty.openpty()
    env = hub.environment(tmp_path / "home") | {"LORIKEET_HUB_BACKOFF": "0.01", "COLUMNS": "120", "LC_ALL": "C.UTF-8"}
    with subprocess.Popen([PROGRAM, "hub", "upload", "lora", folder], env=env, stderr=terminal, stdout=subprocess.DEVNULL) as upload:
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(master, 65536):
                shown += piece
        except OSError:  # the other side is closed
            pass
    os.close(master)
    assert upload.returncode == 0, shown
    assert b"hf_tester" not in shown and b"Signature" not in shown
    return shown.decode()


@pytest.mark.parametrize("part_size", [None, 5_000_000], ids=["whole", "in parts"])
@pytest.mark.parametrize("fault", [{}, {"method": "PUT", "status": 503}, {"method": "PUT", "lose": True}], ids=str)
def test_the_bar_moves_and_ends_at_the_whole(slow, tmp_path, folder, part_size, fault):
    with HubServer(tmp_path / "hub", part_size=part_size) as hub:
        if fault:
            hub.fail(**fault)
        shown = on_a_terminal(hub, tmp_path, folder)
        assert set(hub.files("tester/lora")) >= {"pytorch_lora_weights.safetensors", "small.safetensors"}
    states = [int(done) for done in re.findall(r"Sending pytorch_lora_weights.safetensors: +\d+%.*?[ |](\d+)/24 \[", shown)]
    assert states == sorted(states) and states[0] == 0 and states[-1] == 24 and len(set(states)) >= 4, shown
    assert re.search(r"\[00:\d\d<00:\d\d, +[\d.]+MB/s\]", shown) and "small" not in shown


def test_in_a_log_it_is_two_lines(tmp_path, folder):
    with HubServer(tmp_path / "hub") as hub:
        words = [PROGRAM, "hub", "upload", "lora", folder]
        done = subprocess.run(words, env=hub.environment(tmp_path / "home"), capture_output=True, text=True, check=True)
        assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["Sending pytorch_lora_weights.safetensors"] * 2
        again = subprocess.run(words, env=hub.environment(tmp_path / "home"), capture_output=True, text=True, check=True)
        assert "Sending" not in again.stderr, "it is there already"

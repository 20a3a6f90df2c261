"""LoRA files made to do harm, given to the program: exit code 1, a line that says why, little memory, nothing run."""

import os
import pickle
import struct
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("LORIKEET_PROGRAM", str(ROOT / "build/lorikeet"))
WHOLE = ROOT / "tests/data/lora/diffusers.safetensors"
HEADER = 100_000_000  # bytes, the most that the format allows
ALLOWED = 4 * HEADER + 64_000_000
SECONDS = 10  # of the processor; one where the machine is idle, of which most is reading 100 MB


def run(*words):
    """Exit code, standard error, peak memory in bytes, processor seconds."""
    process = subprocess.Popen([PROGRAM, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    begin = time.monotonic()
    error = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert time.monotonic() - begin < 60
    return process.returncode, error, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def assert_refused(path, reason, tmp_path):
    out = tmp_path / "converted.safetensors"
    for words in (["inspect", path], ["convert", path, out, "--to=kohya"]):
        code, error, _, _ = run("lora", *words)
        assert code == 1, error
        assert reason in error
        assert error.startswith("lorikeet: error: ") and error.count("\n") <= 2  # and perhaps a hint
    assert not out.exists()


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    (tmp_path / "empty.safetensors").touch()
    assert_refused(tmp_path / "empty.safetensors", "0 bytes", tmp_path)
    (tmp_path / "empty.pt").touch()
    assert_refused(tmp_path / "empty.pt", "no zip file", tmp_path)
    (tmp_path / "folder.safetensors").mkdir()
    assert_refused(tmp_path / "folder.safetensors", "there is no LoRA in the folder", tmp_path)
    for name in ("pipe.safetensors", "pipe.pt"):
        os.mkfifo(tmp_path / name)
        assert_refused(tmp_path / name, "no regular file", tmp_path)
    assert_refused("/dev/zero", "no regular file", tmp_path)
    assert_refused(tmp_path / "absent.safetensors", "No such file", tmp_path)
    assert_refused(tmp_path / ("x" * 5000), "File name too long", tmp_path)


def padded(text):
    return text + b" " * (HEADER - len(text))


def entries(count, value, begin=b"{"):
    return begin + b",".join(b'"%d":%s' % (i, value) for i in range(count)) + b"}"


TENSOR = b'{"dtype":"U8","shape":[%s],"data_offsets":[0,0]}'
HEADERS = {
    "tensors": (lambda: padded(entries(100_001, TENSOR % b"0")), "more than 100000 tensors"),
    "tensors_that_are_read": (lambda: padded(entries(29_999, TENSOR % b",".join([b"0"] * 64))), "nothing in it is"),
    "metadata": (lambda: padded(entries(10_001, b'""', b'{"__metadata__":{') + b"}"), "more than 10000 entries"),
    "texts": (lambda: padded(entries(6, b'"%s"' % (b"x" * 15_900_000), b'{"__metadata__":{') + b"}"), "no tensor"),
    "one_text": (lambda: b'{"__metadata__":{"x":"' + b"x" * (HEADER - 30) + b'"}}', "more than 16000000 bytes"),
    "spaces": (lambda: padded(b"{}"), "no tensor in it"),
    "depth": (lambda: b'{"x":{"shape":' + b"[" * (HEADER - 14), "a list in its shape"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_the_longest_header_costs_four_times_its_bytes_at_most(name, tmp_path):
    make, reason = HEADERS[name]
    header = make()
    path = tmp_path / "x.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
    assert len(header) <= HEADER
    _, _, usual, _ = run("lora", "inspect", WHOLE)
    code, error, peak, seconds = run("lora", "inspect", path)
    path.unlink()
    assert code == 1 and reason in error, error
    assert peak - usual <= ALLOWED
    assert seconds <= SECONDS


class Harm:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_pickles_run_nothing(tmp_path):
    mark = tmp_path / "was_here"
    for harm in (Harm(os.system, f"touch {mark}"), Harm(subprocess.check_call, ["touch", str(mark)]),
                 Harm(exec, f"open({str(mark)!r}, 'w')"), Harm(mark.touch)):
        for protocol, name in ((2, "x.pt"), (4, "x.safetensors")):
            data = pickle.dumps({"unet.conv_in.lora_A.weight": harm}, protocol)
            pickle.loads(data)
            assert mark.exists(), "it would do harm in Python"
            mark.unlink()
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr("x/data.pkl", data)
                archive.writestr("x/byteorder", "little")
            code, error, _, _ = run("lora", "inspect", tmp_path / name)
            assert code == 1 and "which is refused" in error, error
            assert not mark.exists()

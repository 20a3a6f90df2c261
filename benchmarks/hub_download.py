"""How long a large file takes from a hub on this machine into the cache, checked, and how much memory; beside it `curl`
followed by `sha256sum`, which does the same work with two programs.

    .venv/bin/python benchmarks/hub_download.py --gigabytes 2 --scratch /tmp
"""

import argparse
import hashlib
import http.server
import multiprocessing
import os
import re
import shutil
import statistics
import tempfile
import time
from pathlib import Path

PROGRAM = os.environ.get("LORIKEET_PROGRAM", "build/lorikeet")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(http.server.BaseHTTPRequestHandler):
    """As much of a Hub as one file needs; the kernel does the sending, so that the server is not what is measured."""

    protocol_version = "HTTP/1.1"
    file, digest = None, None

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.begin(200, os.path.getsize(self.file))

    def do_GET(self):
        size = os.path.getsize(self.file)
        start, end = 0, size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            start, end = int(asked[1]), int(asked[2] or size - 1) + 1
        self.begin(206 if asked else 200, end - start, f"bytes {start}-{end - 1}/{size}" if asked else None)
        with open(self.file, "rb") as file:
            while start < end:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, min(end - start, 1 << 24))

    def begin(self, status, length, content_range=None):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{self.digest}"')
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.flush()


def serve(file, digest, port):
    Handler.file, Handler.digest = file, digest
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


def measure(command, environment=None):
    """Wall-clock seconds and peak resident MiB."""
    started = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, {**os.environ, **(environment or {})},
                          file_actions=[(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (1, 2)])  # fmt: skip
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, (command, status)
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def make_file(path, size):
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for at in range(0, size, 1 << 24):
            block = os.urandom(min(1 << 24, size - at))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--scratch", default=None)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.scratch))
    try:
        compare(folder, int(options.gigabytes * 1e9), options.repeats)
    finally:
        shutil.rmtree(folder)


def compare(folder, size, repeats):
    digest = make_file(folder / "source", size)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(folder / "source", digest, theirs), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    environment = {"HF_ENDPOINT": url, "HF_HOME": str(folder / "home")}

    def peer():
        one, _ = measure(["curl", "-s", "-o", str(folder / "copy"), f"{url}/owner/name/resolve/main/model.safetensors"])
        two, _ = measure(["sha256sum", str(folder / "copy")])
        (folder / "copy").unlink()
        return one + two, 0

    def download(connections):
        taken = measure([PROGRAM, "hub", "download", "owner/name", "model.safetensors", f"--connections={connections}"], environment)
        assert os.path.getsize(folder / "home/hub/models--owner--name/blobs" / digest) == size
        shutil.rmtree(folder / "home")
        return taken

    rows = {"curl, then sha256sum": peer, "lorikeet, 1 connection": lambda: download(1), "lorikeet, 4 connections": lambda: download(4)}
    print(f"{size / 1e9:.1f} GB, load average {os.getloadavg()[0]:.1f}, {repeats} repeats")
    results = {name: [] for name in rows}
    for turn in range(repeats + 1):  # in turns, so that other load meets all alike; the first is not counted
        for name, row in rows.items():
            taken = row()
            if turn:
                results[name].append(taken)
    base = statistics.median(seconds for seconds, _ in results["curl, then sha256sum"])
    for name, taken in results.items():
        seconds = [s for s, _ in taken]
        memory = max(m for _, m in taken)
        print(f"{name:26} {statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
              f"{statistics.median(seconds) / base:.2f} x" + (f", at most {memory:.0f} MiB" if memory else ""))  # fmt: skip


if __name__ == "__main__":
    main()

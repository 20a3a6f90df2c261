"""A Hugging Face Hub of our own on two loopback ports, kept in a folder: the hub itself and, as another host, its storage.

    with HubServer(folder) as hub:
        hub.put_repo("someone/model", {"config.json": b"{}", "model.safetensors": data})
        hub.fail(method="GET", path="/resolve/", status=503, times=2)
        ... HF_ENDPOINT=hub.url HF_TOKEN=hf_tester ...
        hub.transcript()

The official client passes it (hub_server_test.py). Repositories are git repositories, see hub_repository.py; what each
address answers is in hub_routes.py. Tokens: hf_tester may write, hf_reader may only read, hf_other is somebody else.
"""

import contextlib
import gzip
import json
import os
import re
import socket
import tempfile
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hub_repository import LfsObjects, Repository
from hub_routes import GITATTRIBUTES, Answer, is_lfs, route

# What differs between two clients, or two runs of one, without meaning anything.
IDLE_HEADERS = {"host", "user-agent", "x-amzn-trace-id", "connection", "accept", "accept-encoding", "expect"}
PIECE = 1 << 18


@dataclass
class User:
    name: str
    role: str = "write"
    orgs: tuple = ()
    token_name: str = "test token"  # "" for a token from the browser flow


@dataclass
class Request:
    number: int
    host: str  # "hub" or "storage"
    method: str
    path: str  # as sent, without the query
    query: dict
    headers: dict  # lower-case names
    body: bytes = b""
    file: Path | None = None  # of a PUT: where the body lies
    size: int = 0
    status: int | None = None
    user: User | None = None

    @property
    def line(self):
        query = "?" + urllib.parse.urlencode(self.query) if self.query else ""
        return f"{self.method} {self.path}{query}"

    def json(self):
        return json.loads(self.body)


@dataclass
class Fault:
    """What goes wrong with a request that matches. Times counts down; the first fault that matches is used."""

    method: str | None = None
    path: str = ""  # a part of the path (a regular expression)
    number: int | None = None  # the n-th request since the fault was set, from 0
    host: str | None = None
    times: int = 1
    status: int | None = None  # instead of doing it
    headers: dict = field(default_factory=dict)  # more headers of the answer
    body: bytes = b""
    redirect: str | None = None  # to this address, instead of doing it
    refuse: bool = False  # the connection is closed before anything is done
    lose: bool = False  # it is done, and the connection closed instead of the answer
    cut: int | None = None  # so many bytes of the answer's body, then the connection is closed
    wrong: bool = False  # the answer's body has a flipped bit in its middle, everything else is as promised
    delay: float = 0  # seconds before the answer
    late: float = 0  # seconds before it is done
    pace: float = 0  # seconds before each piece of the body
    chunked: bool = False  # the length is not told
    gzip: bool = False  # compressed, when the client accepts that
    replace: object = None  # a function from the answer's JSON to another
    seen: int = 0

    def matches(self, request):
        fits = (
            self.times > 0
            and self.method in (None, request.method)
            and self.host in (None, request.host)
            and re.search(self.path, request.path)
        )
        if fits and self.number is not None:
            self.seen += 1
            fits = self.seen == self.number + 1
        if fits:
            self.times -= 1
        return bool(fits)


class HubServer:
    def __init__(self, folder, *, redirects="lfs", resolve_cache=False, error_codes=True, tells_oids=True, verify=True,
                 part_size=None, page_size=1000, head_redirects=True, gitattributes=True):  # fmt: skip
        """`redirects`: which files come from the storage host: "lfs", "all" or "none". `error_codes`: X-Error-Code is told.
        `tells_oids`: preupload says what is there already. `part_size`: larger LFS files go up in parts of that size.
        `head_redirects`: a HEAD is sent to the storage host as a GET is, else answered here."""
        self.folder = Path(folder)
        self.redirects, self.resolve_cache, self.error_codes = redirects, resolve_cache, error_codes
        self.tells_oids, self.verify, self.part_size, self.page_size = tells_oids, verify, part_size, page_size
        self.head_redirects, self.gitattributes = head_redirects, gitattributes
        self.lfs = LfsObjects(self.folder / "lfs")
        self.users = {"hf_tester": User("tester", orgs=("lab",)), "hf_reader": User("tester", "read"), "hf_other": User("other")}
        self.repos, self.settings = {}, {}  # by (type, id); settings: {"private": bool, "gated": False | "auto", "access": set}
        self.uploads = {}  # of files in parts: {id: {part number: file}}
        self.devices, self.device_answers, self.refresh_tokens = {}, ["authorization_pending"], {}
        self.requests, self.faults, self.leaks = [], [], []
        self.lock = threading.RLock()
        self.hub, self.storage = Listener(self, "hub", "127.0.0.1"), Listener(self, "storage", "localhost")
        self.url, self.storage_url = self.hub.url, self.storage.url

    def __enter__(self):
        self.hub.start(), self.storage.start()
        return self

    def __exit__(self, *error):
        self.hub.stop(), self.storage.stop()

    def environment(self, home, token="hf_tester"):
        """Variables with which either client knows this hub only, and keeps its files under `home`."""
        cleared = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "XDG_")) and "proxy" not in k.lower()}
        mine = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return cleared | mine | ({"HF_TOKEN": token} if token else {})

    # What is there
    def repo(self, id, type="model"):
        return self.repos[type, id]

    def create_repo(self, id, type="model", private=False, gated=False):
        with self.lock:
            self.settings[type, id] = {"private": private, "gated": gated, "access": set()}
            self.repos[type, id] = repo = Repository(self.folder / f"{type}s" / f"{id}.git", self.lfs)
            if not repo.references():
                blob = repo.write("blob", GITATTRIBUTES.encode())
                repo.commit({".gitattributes": blob} if self.gitattributes else {}, "initial commit", id.split("/")[0])
            return repo

    def put_repo(self, id, files, type="model", private=False, gated=False, revision="main", message="files"):
        """Adds `files` ({path: bytes} or a folder), making the repository if there is none; the commit."""
        if not isinstance(files, dict):
            files = {str(p.relative_to(files)): p.read_bytes() for p in sorted(Path(files).rglob("*")) if p.is_file()}
        repo = self.repos.get((type, id)) or self.create_repo(id, type, private, gated)
        parent = repo.resolve(revision) or repo.resolve("main")
        blobs = repo.blobs(parent)
        for path, data in files.items():
            lfs = is_lfs(path, len(data))
            blobs[path] = repo.pointer(self.lfs.put(data), len(data)) if lfs else repo.write("blob", data)
        reference = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        return repo.commit(blobs, message, id.split("/")[0], parent, reference)

    def files(self, id, type="model", revision="main"):
        return self.repo(id, type).files(revision)

    def state(self):
        """Everything somebody can see: {(type, id): {reference: [(tree, message) of each commit]}}, and the LFS objects."""
        repos = {}
        for key, repo in self.repos.items():
            histories = {name: repo.history(commit) for name, commit in repo.references().items()}
            repos[key] = {name: [(repo.header(c)[0], m) for c, m in history] for name, history in histories.items()}
        return repos, sorted(file.name for file in self.lfs.folder.iterdir() if len(file.name) == 64)

    # What goes wrong, and what was asked
    def fail(self, **what):
        self.faults.append(Fault(**what))

    def transcript(self, start=0):
        """The requests so far, without what means nothing: names of hosts instead of ports, no user agents or trace ids."""
        return [self.describe(request) for request in self.requests[start:]]

    def describe(self, request):
        def plain(text):
            return text.replace(self.url, "HUB").replace(self.storage_url, "STORAGE")

        body = plain(request.body.decode(errors="replace")) if request.file is None else f"<{request.size} bytes>"
        if request.headers.get("content-type") == "application/x-ndjson":
            body = [json.loads(line) for line in request.body.splitlines()]
        elif request.headers.get("content-type", "").endswith("json"):
            body = json.loads(body)
        headers = {k: plain(v) for k, v in request.headers.items() if k not in IDLE_HEADERS | {"content-length"}}
        return {"host": request.host, "request": request.line, "headers": headers, "body": body, "status": request.status}

    def take_fault(self, request):
        with self.lock:
            return next((fault for fault in self.faults if fault.matches(request)), Fault())


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub, name, host):
        super().__init__(("127.0.0.1", 0), Handler)
        self.shared, self.name, self.url = hub, name, f"http://{host}:{self.server_port}"

    def start(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError):  # the client is gone
            super().handle()

    def serve(self):
        hub, request = self.server.shared, self.receive()
        if request.path == "/api/agent-harnesses":  # what the official client asks of its own accord, once a day
            return self.send(Answer(200, b'{"standardEnvVars": [], "harnesses": {}}'), Fault())
        with hub.lock:
            request.number = len(hub.requests)
            hub.requests.append(request)
            if request.host == "storage" and "authorization" in request.headers:
                hub.leaks.append(request)
        fault = hub.take_fault(request)
        if fault.refuse:
            return self.hang_up()
        time.sleep(fault.late)
        if fault.status:
            answer = Answer(fault.status, fault.body)
        elif fault.redirect:
            answer = Answer(307, b"", {"Location": fault.redirect})
        else:
            answer = route(hub, request)
        if request.file:
            request.file.unlink(missing_ok=True)
        request.status = answer.status
        if fault.lose:
            return self.hang_up()
        answer.headers.update(fault.headers)
        if fault.replace:
            answer.body = json.dumps(fault.replace(json.loads(answer.body))).encode()
        time.sleep(fault.delay)
        self.send(answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def receive(self):
        split = urllib.parse.urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(0, self.server.name, self.command, split.path, dict(urllib.parse.parse_qsl(split.query)), headers)
        pieces = self.pieces()
        if self.command == "PUT":
            handle, name = tempfile.mkstemp(dir=self.server.shared.folder, suffix=".upload")
            request.file = Path(name)
            with os.fdopen(handle, "wb") as stream:
                for piece in pieces:
                    stream.write(piece)
                    request.size += len(piece)
        else:
            request.body = b"".join(pieces)
        return request

    def pieces(self):
        """The body, which comes with a length or in chunks."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("content-length") or 0)
        while left:
            piece = self.rfile.read(min(left, PIECE))
            if not piece:
                raise ConnectionError("the client went away")
            left -= len(piece)
            yield piece

    def send(self, answer, fault):
        chunked, length = fault.chunked or fault.gzip, answer.length()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if fault.gzip and "gzip" in self.headers.get("accept-encoding", ""):
            answer = Answer(answer.status, gzip.compress(b"".join(answer.pieces(PIECE))))
            self.send_header("Content-Encoding", "gzip")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD":
            return
        at = 0
        for piece in answer.pieces(PIECE if not fault.pace else max(1, length // 16)):
            time.sleep(fault.pace)
            piece = spoil(piece, at, length // 2) if fault.wrong else piece
            piece = piece[: max(0, fault.cut - at)] if fault.cut is not None else piece
            at += len(piece)
            if piece:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece)
            if at == fault.cut:
                return self.hang_up()
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def hang_up(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


def spoil(piece, at, where):
    """`piece`, which begins at byte `at`, with one bit of the byte `where` flipped."""
    if not at <= where < at + len(piece):
        return piece
    spoiled = bytearray(piece)
    spoiled[where - at] ^= 1
    return bytes(spoiled)

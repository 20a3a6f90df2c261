"""As much of a Weights & Biases server as `wandb sync` needs, on a loopback port: it keeps what is uploaded."""

import gzip
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Run:
    """What the server knows of one run. Lines stand at their offset; a later upload to the same offset replaces them."""

    def __init__(self):
        self.variables, self.lines, self.files = {}, {}, {}
        self.exit_code = None
        self.uploads = 0

    def put_lines(self, name, offset, content):
        lines = self.lines.setdefault(name, [])
        assert offset <= len(lines) or name == "output.log", f"{name}: {offset} is behind {len(lines)} lines"
        lines[offset:] = content

    @property
    def history(self):
        return [json.loads(line) for line in self.lines.get("wandb-history.jsonl", [])]

    @property
    def config(self):
        config = json.loads(self.variables["config"])
        return {name: item["value"] for name, item in config.items() if name != "_wandb"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:  # the client is gone
            pass

    def body(self):
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        return gzip.decompress(data) if self.headers.get("content-encoding") == "gzip" else data

    def reply(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self):
        _, _, run, path = urllib.parse.unquote(self.path).split("/", 3)
        with self.server.lock:
            self.server.runs[run].files[path] = self.body()
        self.reply({})

    def do_GET(self):
        self.reply({})

    def do_POST(self):
        data = json.loads(self.body() or b"{}")
        with self.server.lock:
            self.server.authorizations.add(self.headers.get("authorization"))
            if self.path == "/graphql":
                operation, variables = data.get("operationName"), data.get("variables") or {}
                self.server.operations.append(operation)
                answer = getattr(self, operation, lambda variables: {})(variables)
                return self.reply({"data": answer})
            if self.path.endswith("/file_stream"):
                self.file_stream(self.server.runs[self.path.split("/")[-2]], data)
                return self.reply({"exitcode": None, "limits": {}})
        self.reply({})

    def file_stream(self, run, data):
        for name, part in (data.get("files") or {}).items():
            run.put_lines(name, part["offset"], part["content"])
        if data.get("complete"):
            run.exit_code = data["exitcode"]
            run.uploads += 1

    def UpsertBucket(self, variables):
        name = variables.get("name")
        run = self.server.runs.setdefault(name, Run())
        run.variables.update({key: value for key, value in variables.items() if value is not None})
        project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": self.entity(variables)}}
        bucket = {"id": "storage-" + name, "name": name, "displayName": variables.get("displayName") or "calm-tree-1"}
        bucket |= {"description": "", "config": "{}", "sweepName": None, "project": project}
        bucket |= {"historyLineCount": len(run.lines.get("wandb-history.jsonl", []))}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def RunResumeStatus(self, variables):
        run = self.server.runs.get(variables["name"])
        if run is None:
            return {"model": None}
        counts = {key: len(run.lines.get(name, [])) for key, name in self.server.LINES.items()}
        history, summary = run.lines.get("wandb-history.jsonl", []), run.lines.get("wandb-summary.json", ["{}"])
        bucket = {"id": "storage", "name": variables["name"], "displayName": None, "tags": [], "notes": None}
        bucket |= counts | {"historyTail": json.dumps(history[-1:]), "eventsTail": "[]", "summaryMetrics": summary[0]}
        bucket |= {"config": run.variables.get("config", "{}"), "wandbConfig": '{"t": {}}'}
        entity = {"id": "e", "name": self.entity(variables)}
        return {"model": {"id": "m", "name": variables["project"], "entity": entity, "bucket": bucket}}

    def CreateRunFiles(self, variables):
        url = f"http://127.0.0.1:{self.server.server_port}/put/{variables['run']}/"
        files = [{"name": name, "uploadUrl": url + urllib.parse.quote(name)} for name in variables["files"]]
        return {"createRunFiles": {"runID": "storage", "uploadHeaders": [], "files": files}}

    @staticmethod
    def entity(variables):
        return variables.get("entity") or "tester"


class Sink(ThreadingHTTPServer):
    LINES = {
        "historyLineCount": "wandb-history.jsonl",
        "eventsLineCount": "wandb-events.jsonl",
        "logLineCount": "output.log",
    }
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs, self.operations, self.authorizations, self.lock = {}, [], set(), threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

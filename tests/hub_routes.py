"""What the loopback hub answers at each address. Only hub_server.py uses this."""

import base64
import fnmatch
import hashlib
import json
import math
import os
import re
import shutil
import urllib.parse
from dataclasses import dataclass, field

LFS_SUFFIXES = ("bin", "ckpt", "npz", "parquet", "pt", "pth", "safetensors", "zip")
GITATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
PLURAL = "(?P<type>models|datasets|spaces)"
ID = r"(?P<id>[\w.-]+/[\w.-]+)"
ID_TOKEN = "identity-of-the-job"
ROUTES = []


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    file: object = None  # instead of a body: a path, of which `slice` is sent
    slice: tuple = (0, None)

    def length(self):
        if self.file is None:
            return len(self.body)
        start, end = self.slice
        return (os.path.getsize(self.file) if end is None else end) - start

    def pieces(self, size):
        if self.file is None:
            yield from (self.body[at : at + size] for at in range(0, len(self.body), size))
            return
        left = self.length()
        with open(self.file, "rb") as stream:
            stream.seek(self.slice[0])
            while left > 0:
                piece = stream.read(min(size, left))
                left -= len(piece)
                yield piece


class Refusal(Exception):
    def __init__(self, status, message, code=None, **headers):
        super().__init__(message)
        self.status, self.code, self.headers = status, code, {k.replace("_", "-"): v for k, v in headers.items()}


def on(method, pattern, host="hub"):
    def keep(function):
        ROUTES.append((method.split(), host, re.compile(pattern), function))
        return function

    return keep


def route(hub, request):
    try:
        path = urllib.parse.unquote(request.path)
        for methods, host, pattern, function in ROUTES:
            # Revisions keep their %2F until here: the pattern sees the path as sent.
            if request.method in methods and request.host == host and (match := pattern.fullmatch(request.path)):
                if host == "hub":
                    request.user = authenticate(hub, request)
                groups = {k: urllib.parse.unquote(v) if v else v for k, v in match.groupdict().items()}
                if "type" in groups:
                    groups["type"] = (groups["type"] or "models").rstrip("/s")
                answer = function(hub, request, **groups)
                return answer if isinstance(answer, Answer) else reply(answer)
        raise Refusal(404, f"no such address: {path}")
    except Refusal as refusal:
        headers = {"X-Request-Id": f"request-{request.number}", **refusal.headers}
        if hub.error_codes and refusal.code:
            headers |= {"X-Error-Code": refusal.code}
        if hub.error_codes:
            headers |= {"X-Error-Message": str(refusal)}
        return reply({"error": str(refusal)}, refusal.status, headers)


def reply(value, status=200, headers=None):
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8"} | (headers or {}))


# Who may do what
def authenticate(hub, request):
    header = request.headers.get("authorization")
    if header is None:
        return None
    user = hub.users.get(header.removeprefix("Bearer "))
    if user is None:
        raise Refusal(401, "Invalid credentials in Authorization header")
    return user


def is_member(user, id):
    return user is not None and id.split("/")[0] in (user.name, *user.orgs)


def open_repo(hub, request, type, id, write=False, content=False):
    """The repository, when the user may do that with it. A private one looks missing to others."""
    settings = hub.settings.get((type, id))
    if settings is None or (settings["private"] and not is_member(request.user, id)):
        status = 401 if request.user is None else 404
        raise Refusal(status, "Repository not found" if request.user else "Invalid username or password.", "RepoNotFound")
    if content and settings["gated"] and not is_member(request.user, id):
        if request.user is None:
            raise Refusal(401, f"Access to {type} {id} is restricted. You must be authenticated to access it.", "GatedRepo")
        if request.user.name not in settings["access"]:
            raise Refusal(403, f"Access to {type} {id} is restricted and you are not in the authorized list.", "GatedRepo")
    if write:
        may_write(request.user, id)
    return hub.repos[type, id]


def may_write(user, id):
    if user is None:
        raise Refusal(401, "Invalid username or password.")
    if user.role != "write" or not is_member(user, id):
        raise Refusal(403, f"Forbidden: you must use a token with write access to {id.split('/')[0]}.")


def commit_of(repo, revision):
    commit = repo.resolve(revision)
    if commit is None:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


# Accounts
@on("GET", "/api/whoami-v2")
def whoami(hub, request):
    user = request.user
    if user is None:
        raise Refusal(401, "Invalid username or password.")
    token = {"displayName": user.token_name, "role": user.role} if user.token_name else {"role": user.role}
    orgs = [{"type": "org", "id": name, "name": name, "fullname": name, "roleInOrg": user.role} for name in user.orgs]
    known = {"type": "user", "id": user.name, "name": user.name, "fullname": user.name, "isPro": False, "orgs": orgs}
    return known | {"auth": {"type": "access_token" if user.token_name else "oauth", "accessToken": token}}


@on("POST", "/oauth/device")
def device(hub, request):
    number = len(hub.devices) + 1
    hub.devices[f"device-{number}"] = list(hub.device_answers)
    page = f"{hub.url}/oauth/device"
    about = {"device_code": f"device-{number}", "user_code": f"CODE-{number:04}", "expires_in": 60, "interval": 0}
    return about | {"verification_uri": page, "verification_uri_complete": f"{page}?user_code=CODE-{number:04}"}


@on("POST", "/oauth/token")
def oauth_token(hub, request):
    if request.headers.get("content-type", "").startswith("application/json"):
        return exchange(hub, request.json())
    form = dict(urllib.parse.parse_qsl(request.body.decode()))
    with hub.lock:
        if form.get("grant_type") == "refresh_token":
            if hub.refresh_tokens.pop(form.get("refresh_token"), None) is None:
                return reply({"error": "invalid_grant", "error_description": "Invalid refresh token"}, 400)
            return new_oauth_token(hub)
        waiting = hub.devices.get(form.get("device_code"))
        if waiting is None:
            return reply({"error": "invalid_grant", "error_description": "Unknown device code"}, 400)
        if waiting:
            error = waiting.pop(0)
            return reply(error, 400) if isinstance(error, dict) else reply({"error": error}, 400)
        return new_oauth_token(hub)


def exchange(hub, asked):
    """RFC 8693: what a CI says of its job, for a token that may write to the repository which trusts it."""
    kinds = {"grant_type": "token-exchange", "subject_token_type": "id_token"}
    if any(not asked.get(name, "").endswith(kind) for name, kind in kinds.items()) or asked["subject_token"] != ID_TOKEN:
        return reply({"error": "invalid_grant", "error_description": f"Not a known job: {asked.get('subject_token')}"}, 400)
    number = 1 + sum(token.startswith("hf_jwt_") for token in hub.users)
    hub.users[f"hf_jwt_{number}"] = type(hub.users["hf_tester"])(asked["resource"].split("/")[0], token_name="")
    return {"access_token": f"hf_jwt_{number}", "token_type": "bearer", "expires_in": 3600}


def new_oauth_token(hub):
    number = 1 + sum(token.startswith("hf_oauth_") for token in hub.users)
    access, refresh = f"hf_oauth_{number}", f"refresh_{number}"
    hub.users[access] = type(hub.users["hf_tester"])("tester", token_name="")
    hub.refresh_tokens[refresh] = access
    return {"access_token": access, "refresh_token": refresh, "expires_in": 8 * 24 * 3600, "token_type": "bearer"}


# Repositories
@on("POST", "/api/repos/create")
def create(hub, request):
    asked = request.json()
    user = request.user
    id = f"{asked.get('organization') or (user.name if user else '')}/{asked['name']}"
    may_write(user, id)
    type = asked.get("type") or "model"
    with hub.lock:
        where = {"url": f"{hub.url}/{prefix(type)}{id}", "name": id, "id": id}
        if (type, id) in hub.repos:
            return reply(where | {"error": f"You already created this {type} repo"}, 409)
        hub.create_repo(id, type, private=asked.get("visibility") == "private" or bool(asked.get("private")))
        return where


def prefix(type):
    return "" if type == "model" else f"{type}s/"


@on("POST", "/api/validate-yaml")
def validate_yaml(hub, request):
    content = request.json()["content"]
    block = re.match(r"\s*---\r?\n(.*?)\r?\n---\s", content, re.DOTALL)
    if block is None:
        return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
    if re.search(r"^\t|^[^\s:#-][^:]*$", block[1], re.MULTILINE):
        return reply({"errors": [{"message": "YAML Metadata Error: this is not a mapping"}], "warnings": []}, 400)
    return {"errors": [], "warnings": []}


@on("GET", f"/api/{PLURAL}/{ID}(/revision/(?P<revision>[^/]+))?")
def info(hub, request, type, id, revision):
    repo = open_repo(hub, request, type, id)
    commit = commit_of(repo, revision or "main")
    settings = hub.settings[type, id]
    siblings = [{"rfilename": path} for path in sorted(repo.blobs(commit))]
    if request.query.get("blobs"):
        for item in siblings:
            oid = repo.blobs(commit)[item["rfilename"]]
            about = repo.describe(oid)
            lfs = about["lfs"] and {"sha256": about["lfs"]["oid"], "size": about["size"], "pointerSize": about["lfs"]["pointerSize"]}
            item |= {"blobId": oid, "size": about["size"]} | ({"lfs": lfs} if lfs else {})
    known = {"_id": id, "id": id, "author": id.split("/")[0], "sha": commit, "lastModified": "2026-01-01T00:00:00.000Z"}
    known |= {"private": settings["private"], "gated": settings["gated"], "disabled": False, "downloads": 0, "likes": 0}
    return known | {"tags": [], "siblings": siblings, "createdAt": "2026-01-01T00:00:00.000Z"} | ({"modelId": id} if type == "model" else {})


@on("GET", f"/api/{PLURAL}/{ID}/auth-check(?P<write>/write)?")
def auth_check(hub, request, type, id, write):
    open_repo(hub, request, type, id, write=bool(write), content=True)
    return {}


@on("GET", f"/api/{PLURAL}/{ID}/refs")
def refs(hub, request, type, id):
    found = {"branches": [], "converts": [], "tags": []}
    kinds = {"refs/heads/": "branches", "refs/convert/": "converts", "refs/tags/": "tags"}
    for name, commit in open_repo(hub, request, type, id).references().items():
        for start, kind in kinds.items():
            if name.startswith(start):
                found[kind].append({"name": name.removeprefix(start), "ref": name, "targetCommit": commit})
    return found


@on("GET", f"/api/{PLURAL}/{ID}/commits/(?P<revision>[^/]+)")
def commits(hub, request, type, id, revision):
    repo = open_repo(hub, request, type, id)
    date, authors = "2026-01-01T00:00:00.000Z", [{"user": id.split("/")[0]}]
    history = repo.history(commit_of(repo, revision))
    return [{"id": c, "title": m.split("\n")[0], "message": m, "authors": authors, "date": date} for c, m in history]


def entry(repo, path, oid):
    about = repo.describe(oid)
    return {"type": "file", "oid": oid, "size": about["size"], "path": path} | ({"lfs": about["lfs"]} if about["lfs"] else {})


@on("GET", f"/api/{PLURAL}/{ID}/tree/(?P<revision>[^/]+)(/(?P<path>.*))?")
def tree(hub, request, type, id, revision, path):
    repo = open_repo(hub, request, type, id)
    blobs, start = repo.blobs(commit_of(repo, revision)), f"{path}/" if path else ""
    inside = {name: oid for name, oid in sorted(blobs.items()) if name.startswith(start)}
    if path and not inside:
        raise Refusal(404, f"{path} does not exist on '{revision}'", "EntryNotFound")
    recursive, items, folders = request.query.get("recursive") in ("true", "True", "1"), [], set()
    for name, oid in inside.items():
        parts = name[len(start) :].split("/")
        for depth in range(1, len(parts) if recursive else min(2, len(parts))):
            folder = start + "/".join(parts[:depth])
            if folder not in folders:
                folders.add(folder)
                items.append({"type": "directory", "oid": hashlib.sha1(folder.encode()).hexdigest(), "size": 0, "path": folder})
        if recursive or len(parts) == 1:
            items.append(entry(repo, name, oid))
    at = int(request.query.get("cursor", 0))
    answer = reply(items[at : at + hub.page_size])
    if at + hub.page_size < len(items):
        query = urllib.parse.urlencode(request.query | {"cursor": at + hub.page_size})
        answer.headers["Link"] = f'<{hub.url}{request.path}?{query}>; rel="next"'
    return answer


@on("POST", f"/api/{PLURAL}/{ID}/paths-info/(?P<revision>[^/]+)")
def paths_info(hub, request, type, id, revision):
    repo = open_repo(hub, request, type, id)
    blobs = repo.blobs(commit_of(repo, revision))
    wanted = [value for name, value in urllib.parse.parse_qsl(request.body.decode()) if name == "paths"]
    return [entry(repo, path, blobs[path]) for path in wanted if path in blobs]


# Files
@on("GET HEAD", f"/(?P<type>datasets/|spaces/)?{ID}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(hub, request, type, id, revision, path):
    repo = open_repo(hub, request, type, id, content=True)
    commit = commit_of(repo, revision)
    headers = {"X-Repo-Commit": commit}
    oid = repo.blobs(commit).get(path)
    if oid is None:
        raise Refusal(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit)
    about = repo.describe(oid)
    etag = about["lfs"]["oid"] if about["lfs"] else oid
    name = urllib.parse.quote(os.path.basename(path))
    headers |= {"Accept-Ranges": "bytes", "Content-Disposition": f"inline; filename*=UTF-8''{name}; filename=\"{name}\";"}
    goes = request.method == "GET" or hub.head_redirects
    if goes and (hub.redirects == "all" or (about["lfs"] and hub.redirects == "lfs")):
        headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(about["size"])}
        name = f"lfs/{etag}" if about["lfs"] else f"blob/{type}/{id}/{oid}"
        return Answer(302, b"", headers | {"Location": f"{hub.storage_url}/{name}?Signature={signature(name)}"})
    headers["ETag"] = f'"{etag}"'
    if hub.resolve_cache and not about["lfs"]:
        target = f"/api/resolve-cache/{type}s/{id}/{commit}/{urllib.parse.quote(path)}?etag=%22{etag}%22"
        return Answer(307, b"", headers | {"Location": target, "X-Linked-Size": str(about["size"])})
    return content(hub, request, repo, about, oid, headers)


@on("GET HEAD", f"/api/resolve-cache/{PLURAL}/{ID}/(?P<commit>[^/]+)/(?P<path>.+)")
def resolve_cache(hub, request, type, id, commit, path):
    repo = open_repo(hub, request, type, id, content=True)
    oid = repo.blobs(commit)[path]
    return content(hub, request, repo, repo.describe(oid), oid, {"X-Repo-Commit": commit, "ETag": f'"{oid}"', "Accept-Ranges": "bytes"})


def content(hub, request, repo, about, oid, headers):
    if about["lfs"]:
        return ranged(request, Answer(200, b"", headers, file=hub.lfs.path(about["lfs"]["oid"])))
    return ranged(request, Answer(200, repo.read(oid), headers))


def ranged(request, answer):
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    answer.headers["Content-Type"] = "application/octet-stream"
    if not asked:
        return answer
    size = answer.length()
    start, end = int(asked[1]), min(size, int(asked[2]) + 1 if asked[2] else size)
    if start >= size:
        return Answer(416, b"", {"Content-Range": f"bytes */{size}"})
    answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    answer.status = 206
    if answer.file is None:
        answer.body = answer.body[start:end]
    else:
        answer.slice = (start, end)
    return answer


# The storage host: addresses are signed, tokens are not wanted
def signature(name):
    return hashlib.sha256(b"a secret of the storage " + name.encode()).hexdigest()[:16]


def signed(hub, name):
    return f"{hub.storage_url}/{name}?Signature={signature(name)}"


def check_signature(request):
    if "authorization" in request.headers:
        raise Refusal(400, "Only one auth mechanism allowed")
    if request.query.get("Signature") != signature(request.path[1:]):
        raise Refusal(403, "The request signature we calculated does not match the signature you provided")


@on("GET HEAD", "/lfs/(?P<oid>[0-9a-f]{64})", host="storage")
def stored_lfs(hub, request, oid):
    check_signature(request)
    return ranged(request, Answer(200, b"", {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"}, file=hub.lfs.path(oid)))


@on("GET HEAD", f"/blob/(?P<kind>[a-z]+)/{ID}/(?P<oid>[0-9a-f]+)", host="storage")
def stored_blob(hub, request, kind, id, oid):
    check_signature(request)
    return ranged(request, Answer(200, hub.repos[kind, id].read(oid), {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"}))


@on("PUT", "/upload/(?P<oid>[0-9a-f]{64})", host="storage")
def upload(hub, request, oid):
    check_signature(request)
    if not hub.lfs.adopt(request.file, oid):
        raise Refusal(400, "The provided checksum did not match")
    return Answer(200, b"", {"ETag": f'"{oid[:32]}"'})


@on("PUT", "/part/(?P<oid>[0-9a-f]{64})/(?P<number>[0-9]+)", host="storage")
def upload_part(hub, request, oid, number):
    check_signature(request)
    data = request.file.read_bytes()
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    with hub.lock:
        hub.uploads.setdefault(oid, {})[int(number)] = (etag, data)
    return Answer(200, b"", {"ETag": etag})


# Pushing
def is_lfs(path, size):
    return path.endswith(tuple(f".{suffix}" for suffix in LFS_SUFFIXES)) or size > 10 << 20


@on("POST", f"/api/{PLURAL}/{ID}/preupload/(?P<revision>[^/]+)")
def preupload(hub, request, type, id, revision):
    repo = open_repo(hub, request, type, id, write="create_pr" not in request.query)
    blobs = repo.blobs(commit_of(repo, revision))
    asked = request.json()
    ignored = asked.get("gitIgnore", repo.read(blobs[".gitignore"]).decode() if ".gitignore" in blobs else "").split()
    files = []
    for file in asked["files"]:
        path = file["path"]
        assert len(base64.b64decode(file["sample"])) == min(512, file["size"])
        known = {"oid": about_oid(repo, blobs[path])} if hub.tells_oids and path in blobs else {}
        skip = any(fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(os.path.basename(path), pattern) for pattern in ignored)
        mode = "lfs" if is_lfs(path, file["size"]) else "regular"
        files.append({"path": path, "uploadMode": mode, "shouldIgnore": skip} | known)
    return {"files": files, "commitOid": commit_of(repo, revision)}


def about_oid(repo, blob):
    lfs = repo.describe(blob)["lfs"]
    return lfs["oid"] if lfs else blob


@on("POST", rf"/(?P<type>datasets/|spaces/)?{ID}\.git/info/lfs/objects/batch")
def batch(hub, request, type, id):
    open_repo(hub, request, type, id)  # whoever may open a pull request may send files for it
    if request.user is None or request.user.role != "write":
        raise Refusal(403, "Forbidden: you must use a token with write access.")
    objects = []
    for item in request.json()["objects"]:
        oid, size = item["oid"], item["size"]
        about = {"oid": oid, "size": size}
        if not hub.lfs.path(oid).exists():
            if hub.part_size and size > hub.part_size:
                count = math.ceil(size / hub.part_size)
                parts = {f"{n:05}": signed(hub, f"part/{oid}/{n}") for n in range(1, count + 1)}
                send = {"href": f"{hub.url}/lfs/complete/{oid}", "header": {"chunk_size": str(hub.part_size), **parts}}
            else:
                send = {"href": signed(hub, f"upload/{oid}"), "header": {}}
            check = {"verify": {"href": f"{hub.url}/lfs/verify/{type}/{id}"}} if hub.verify else {}
            about["actions"] = {"upload": send} | check
        objects.append(about)
    many = any("chunk_size" in item.get("actions", {}).get("upload", {}).get("header", {}) for item in objects)
    headers = {"Content-Type": "application/vnd.git-lfs+json"}
    return reply({"transfer": "multipart" if many else "basic", "objects": objects}, 200, headers)


@on("POST", "/lfs/complete/(?P<oid>[0-9a-f]{64})")
def complete(hub, request, oid):
    asked, parts = request.json(), hub.uploads.get(oid, {})
    if asked["oid"] != oid or [(p["partNumber"], p["etag"]) for p in asked["parts"]] != [(n, parts[n][0]) for n in sorted(parts)]:
        raise Refusal(400, "The parts do not match what was uploaded")
    whole = hub.folder / f"{oid}.whole"
    with open(whole, "wb") as stream:
        for number in sorted(parts):
            stream.write(parts[number][1])
    if not hub.lfs.adopt(whole, oid):
        whole.unlink()
        raise Refusal(400, "The provided checksum did not match")
    del hub.uploads[oid]
    return {}


@on("POST", f"/lfs/verify/(?P<kind>[a-z]+)/{ID}")
def verify(hub, request, kind, id):
    open_repo(hub, request, kind, id)
    asked, path = request.json(), hub.lfs.path(request.json()["oid"])
    if not path.exists() or path.stat().st_size != asked["size"]:
        raise Refusal(404, f"Object {asked['oid']} is not there")
    return {}


def check_path(path):
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..", ".git") for part in parts):
        raise Refusal(400, f"Invalid path in repository: {path}")
    return path


@on("POST", f"/api/{PLURAL}/{ID}/commit/(?P<revision>[^/]+)")
def commit(hub, request, type, id, revision):
    with hub.lock:
        pull = request.query.get("create_pr") == "1"
        repo = open_repo(hub, request, type, id, write=not pull)
        if request.user is None:
            raise Refusal(401, "Invalid username or password.")
        parent = commit_of(repo, revision)
        lines = [json.loads(line) for line in request.body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, parent):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        blobs = repo.blobs(parent)
        for line in lines[1:]:
            apply(hub, repo, blobs, line["key"], line["value"])
        message = "\n\n".join(filter(None, [header["summary"], header.get("description")]))
        number = 1 + sum(name.startswith("refs/pr/") for name in repo.references())
        reference = f"refs/pr/{number}" if pull else revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        oid = repo.commit(blobs, message, request.user.name, parent, reference)
    page = f"{hub.url}/{prefix(type)}{id}"
    answer = {"success": True, "commitOid": oid, "commitUrl": f"{page}/commit/{oid}", "hookOutput": ""}
    return answer | ({"pullRequestUrl": f"{page}/discussions/{number}"} if pull else {})


def apply(hub, repo, blobs, key, value):
    path = check_path(value["path"])
    if key == "file":
        blobs[path] = repo.write("blob", base64.b64decode(value["content"], validate=True))
    elif key == "lfsFile":
        stored = hub.lfs.path(value["oid"])
        if not stored.exists() or stored.stat().st_size != value["size"]:
            raise Refusal(400, f"Your push was rejected because the LFS file of {path} does not exist: {value['oid']}")
        blobs[path] = repo.pointer(value["oid"], value["size"])
    elif key == "deletedFile":
        blobs.pop(path, None)
    elif key == "deletedFolder":
        for inside in [name for name in blobs if name.startswith(path.rstrip("/") + "/")]:
            del blobs[inside]
    else:
        raise Refusal(400, f"Unknown operation: {key}")


@on("DELETE", "/api/repos/delete")
def delete(hub, request):
    asked = request.json()
    id, type = f"{asked.get('organization') or request.user.name}/{asked['name']}", asked.get("type") or "model"
    repo = open_repo(hub, request, type, id, write=True)
    shutil.rmtree(repo.folder)
    del hub.repos[type, id], hub.settings[type, id]
    return {}

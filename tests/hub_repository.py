"""The loopback hub's storage: bare git repositories that `git` itself can read, and LFS objects beside them."""

import hashlib
import os
import re
import zlib
from pathlib import Path

FILE, FOLDER = "100644", "40000"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
POINTER_PATTERN = re.compile(rb"version https://git-lfs.github.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n")


class LfsObjects:
    """Content by its sha256. Nothing is visible under its name before it is whole and has that sum."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, oid):
        assert re.fullmatch("[0-9a-f]{64}", oid), oid
        return self.folder / oid

    def put(self, data):
        oid = hashlib.sha256(data).hexdigest()
        write_whole(self.path(oid), data)
        return oid

    def adopt(self, file, oid):
        """Takes a received file in, if it is what it should be."""
        with open(file, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found == oid:
            os.replace(file, self.path(oid))
        return found == oid


class Repository:
    """One bare repository. Times come from the number of commits, so that the same pushes give the same commit ids."""

    def __init__(self, folder, lfs):
        self.folder, self.lfs = Path(folder), lfs
        if not self.folder.exists():
            for name in ("objects", "refs/heads", "refs/tags"):
                (self.folder / name).mkdir(parents=True)
            (self.folder / "HEAD").write_text("ref: refs/heads/main\n")
            (self.folder / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")

    # Objects
    def write(self, kind, data):
        whole = f"{kind} {len(data)}\0".encode() + data
        oid = hashlib.sha1(whole).hexdigest()
        write_whole(self.folder / "objects" / oid[:2] / oid[2:], zlib.compress(whole, 1))
        return oid

    def read(self, oid):
        whole = zlib.decompress((self.folder / "objects" / oid[:2] / oid[2:]).read_bytes())
        return whole[whole.index(0) + 1 :]

    def write_tree(self, files):
        """`files`: {path: blob id}; the tree's id."""
        entries, folders = [], {}
        for path, oid in files.items():
            head, _, rest = path.partition("/")
            if rest:
                folders.setdefault(head, {})[rest] = oid
            else:
                entries.append((head, FILE, oid))
        entries += [(name, FOLDER, self.write_tree(inside)) for name, inside in folders.items()]
        entries.sort(key=lambda entry: entry[0] + ("/" if entry[1] == FOLDER else ""))
        return self.write("tree", b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for name, mode, oid in entries))

    def read_tree(self, oid):
        """[(name, is folder, id)]"""
        data, entries = self.read(oid), []
        while data:
            head, data = data.split(b"\0", 1)
            mode, name = head.decode().split(" ", 1)
            entries.append((name, mode == FOLDER, data[:20].hex()))
            data = data[20:]
        return entries

    # Commits and names
    def resolve(self, revision):
        """The commit of a branch, a tag, a full reference or a commit id; None if there is none."""
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            file = self.folder / name
            if name.startswith("refs/") and ".." not in name and file.is_file():
                return file.read_text().strip()
        known = re.fullmatch("[0-9a-f]{40}", revision) and (self.folder / "objects" / revision[:2] / revision[2:]).exists()
        return revision if known else None

    def references(self):
        refs = self.folder / "refs"
        return {str(file.relative_to(self.folder)): file.read_text().strip() for file in sorted(refs.rglob("*")) if file.is_file()}

    def point(self, reference, commit):
        write_whole(self.folder / reference, (commit + "\n").encode())

    def header(self, commit):
        """(tree, parents, message) of a commit."""
        head, message = self.read(commit).decode().split("\n\n", 1)
        lines = [line.split(" ", 1) for line in head.splitlines()]
        return lines[0][1], [value for key, value in lines if key == "parent"], message

    def history(self, commit):
        """[(commit, message)], newest first."""
        found = []
        while commit:
            _, parents, message = self.header(commit)
            found.append((commit, message))
            commit = parents[0] if parents else None
        return found

    def blobs(self, commit):
        """{path: blob id} of a commit."""

        def walk(tree, prefix):
            for name, is_folder, oid in self.read_tree(tree):
                if is_folder:
                    yield from walk(oid, f"{prefix}{name}/")
                else:
                    yield f"{prefix}{name}", oid

        return dict(walk(self.header(commit)[0], ""))

    def commit(self, files, message, author, parent=None, reference="refs/heads/main"):
        """Makes `files` ({path: blob id}) the state of `reference`; the new commit's id."""
        when = f"{author} <{author}@hub.test> {1_700_000_000 + (len(self.history(parent)) if parent else 0)} +0000"
        lines = [f"tree {self.write_tree(files)}"] + ([f"parent {parent}"] if parent else [])
        text = "\n".join([*lines, f"author {when}", f"committer {when}", "", message])
        oid = self.write("commit", text.encode())
        self.point(reference, oid)
        return oid

    # Files
    def pointer(self, oid, size):
        return self.write("blob", POINTER.format(oid, size).encode())

    def describe(self, oid):
        """What a blob stands for: {size, lfs: {oid, size, pointerSize} or None}."""
        data = self.read(oid)
        match = POINTER_PATTERN.fullmatch(data) if len(data) < 200 else None
        if not match:
            return {"size": len(data), "lfs": None}
        size = int(match[2])
        return {"size": size, "lfs": {"oid": match[1].decode(), "size": size, "pointerSize": len(data)}}

    def content(self, oid):
        lfs = self.describe(oid)["lfs"]
        return self.lfs.path(lfs["oid"]).read_bytes() if lfs else self.read(oid)

    def files(self, revision="main"):
        """{path: content}: what somebody who clones it sees."""
        commit = self.resolve(revision)
        return {path: self.content(oid) for path, oid in self.blobs(commit).items()} if commit else {}


def write_whole(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.new")
    temporary.write_bytes(data)
    os.replace(temporary, path)

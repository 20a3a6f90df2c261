"""`lorikeet auth` and the `hf` program, on the same files: what either logs in, the other uses."""

import configparser
import os
import re
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hub_server import HubServer, User

PROGRAM = os.environ.get("LORIKEET_BUILD_DIR", "build") + "/hub_program"  # the Hub's commands alone: it starts at once
HF = str(Path(sys.executable).parent / "hf")


class Machine:
    """One person's HF_HOME, and both programs in it."""

    def __init__(self, hub, home):
        self.hub, self.home = hub, home

    def run(self, program, *words, code=0, token=None, **variables):
        env = self.hub.environment(self.home, token) | variables
        done = subprocess.run([program, *words], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        assert not re.search("hf_tester|hf_work|hf_oauth|refresh_\\d|device-\\d|hf_secret", done.stdout + done.stderr), done.stdout
        return done.stdout + done.stderr

    def ours(self, *words, **options):
        return self.run(PROGRAM, "auth", *words, **options)

    def theirs(self, *words, **options):
        done = subprocess.run([HF, "auth", *words], env=self.hub.environment(self.home, options.get("token")),
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        assert done.returncode == options.get("code", 0), done.stderr
        return done.stdout + done.stderr

    @property
    def active(self):
        return (self.home / "token").read_text() if (self.home / "token").exists() else None

    @property
    def stored(self):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(self.home / "stored_tokens", encoding="utf-8")
        return {name: dict(parser[name]) for name in parser.sections()}


@pytest.fixture
def machine(tmp_path):
    with HubServer(tmp_path / "hub") as hub:
        hub.users["hf_work"] = User("worker", token_name="W\u00f6rk 100% [new]")
        yield Machine(hub, tmp_path / "home")


@pytest.mark.parametrize("first, second", [("ours", "theirs"), ("theirs", "ours")])
def test_either_logs_in_and_the_other_is_logged_in(machine, first, second):
    getattr(machine, first)("login", "--token", "hf_tester")
    assert "tester" in getattr(machine, second)("whoami")
    getattr(machine, second)("login", "--token", "hf_work", "--force")
    assert "worker" in getattr(machine, first)("whoami")
    assert machine.stored == {"W\u00f6rk 100% [new]": {"hf_token": "hf_work"}, "test token": {"hf_token": "hf_tester"}}
    for program in (machine.ours, machine.theirs):
        assert re.search("[*].*W\u00f6rk 100% .new.", program("list")) and re.search("[*].*test token", program("list")) is None


def test_both_write_the_same_files(machine, tmp_path):
    files = []
    for login in (machine.ours, machine.theirs):
        machine.home = tmp_path / f"home {len(files)}"
        login("login", "--token", "hf_work")
        login("login", "--token", "hf_tester", "--force")
        names = ("token", "stored_tokens")
        files.append([(machine.home / name).read_bytes() for name in names])
        assert [stat.S_IMODE((machine.home / name).stat().st_mode) for name in names] == [0o600, 0o600]
        assert stat.S_IMODE(machine.home.stat().st_mode) == 0o700
        assert sorted(path.name for path in machine.home.iterdir() if "token" in path.name) == ["stored_tokens", "token"]
    assert files[0] == files[1]


def test_both_ask_the_same(machine, tmp_path):
    transcripts = []
    for login in (machine.ours, machine.theirs):
        machine.home = tmp_path / f"home {len(transcripts)}"
        start, machine.hub.devices = len(machine.hub.requests), {}
        login("login", "--token", "hf_tester")
        login("login", "--force")
        login("whoami")
        transcript = machine.hub.transcript(start)
        text = re.sub(r"(hf_oauth|refresh)_\d", r"\1_N", str(transcript))
        transcripts.append(text)
    assert transcripts[0] == transcripts[1]


def test_switch_and_logout(machine):
    machine.ours("login", "--token", "hf_tester")
    machine.ours("login", "--token=hf_work")
    machine.ours("switch", "--token_name=test token")
    assert machine.active == "hf_tester" and "tester" in machine.theirs("whoami")
    machine.theirs("switch", "--token-name", "W\u00f6rk 100% [new]")
    assert "worker" in machine.ours("whoami")
    assert "was the active one" in machine.ours("logout", "--token_name=W\u00f6rk 100% [new]")
    assert machine.active is None and list(machine.stored) == ["test token"]
    machine.ours("switch", "--token_name=test token")
    machine.ours("logout")
    assert not (machine.home / "token").exists() and not (machine.home / "stored_tokens").exists()
    assert "not logged in" in machine.ours("logout")
    machine.theirs("whoami", code=1)


def test_the_browser_flow(machine):
    machine.hub.device_answers = ["authorization_pending", "authorization_pending"]
    machine.hub.fail(path="/oauth/token", status=502)
    machine.hub.fail(path="/oauth/token", refuse=True)
    shown = machine.ours("login")
    assert f"{machine.hub.url}/oauth/device?user_code=CODE-0001" in shown and "Logged in as tester" in shown
    assert machine.active == "hf_oauth_1"
    fields = machine.stored["oauth-tester"]
    assert fields["refresh_token"] == "refresh_1" and abs(int(fields["expires_at"]) - time.time() - 8 * 86400) < 60
    assert [r.path for r in machine.hub.requests] == ["/oauth/device", *5 * ["/oauth/token"], "/api/whoami-v2"]
    assert "until" in machine.ours("list") and "already" in machine.ours("login")
    assert "tester" in machine.theirs("whoami")


@pytest.mark.parametrize("error, words", [
    ("access_denied", "refused in the browser"),
    ("expired_token", "not confirmed in time"),
    ({"error": "odd", "error_description": "what it is"}, "odd: what it is"),
], ids=["denied", "expired", "odd"])  # fmt: skip
def test_the_browser_flow_refused(machine, error, words):
    machine.hub.device_answers = [error]
    shown = machine.ours("login", code=1)
    assert words in shown and "lorikeet auth login" in shown and machine.active is None


def expire(machine, seconds=3600):
    path = machine.home / "stored_tokens"
    path.write_text(re.sub(r"expires_at = \d+", f"expires_at = {int(time.time()) + seconds}", path.read_text()))


@pytest.mark.parametrize("first, second", [("ours", "theirs"), ("theirs", "ours")])
def test_a_login_that_ends_soon_is_renewed_by_either(machine, first, second):
    machine.ours("login")
    expire(machine)
    getattr(machine, first)("whoami")
    assert machine.active == "hf_oauth_2" == machine.stored["oauth-tester"]["hf_token"]
    assert machine.stored["oauth-tester"]["refresh_token"] == "refresh_2"
    assert int(machine.stored["oauth-tester"]["expires_at"]) > time.time() + 7 * 86400
    expire(machine)
    getattr(machine, second)("whoami")
    assert machine.active == "hf_oauth_3" and set(machine.hub.refresh_tokens) == {"refresh_3"}


def test_several_processes_renew_it_once(machine):
    """The server takes each refresh token once: a second renewal with it would lose the login."""
    machine.ours("login")
    expire(machine)
    machine.hub.fail(path="/oauth/token", delay=0.5, times=99)
    users = [machine.ours, machine.ours, machine.theirs]
    threads = [threading.Thread(target=user, args=("whoami",)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert machine.active == "hf_oauth_2" and len([r for r in machine.hub.requests if b"refresh_token" in r.body]) == 1


def test_a_renewal_that_fails_is_told_and_the_old_token_used(machine):
    machine.ours("login")
    expire(machine)
    machine.hub.refresh_tokens.clear()
    shown = machine.ours("whoami")
    assert "user: tester" in shown and "expired and cannot be renewed (invalid_grant): run `lorikeet auth login`" in shown
    machine.hub.fail(path="/oauth/token", refuse=True)
    assert "could not renew your login" in machine.ours("whoami")
    assert machine.active == "hf_oauth_1"


def test_the_environment_goes_first(machine, tmp_path):
    machine.ours("login", "--token", "hf_tester")
    assert "user: worker" in machine.ours("whoami", token="hf_work")
    assert "user: worker" in machine.ours("whoami", HUGGING_FACE_HUB_TOKEN="hf_work")
    assert "user: tester" in machine.ours("whoami", token=" ")
    assert "user: tester" in machine.ours("whoami", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")
    assert "goes before" in machine.ours("list", token="hf_work")
    other = tmp_path / "other/my token"
    other.parent.mkdir()
    other.write_text("\r\n hf_work \n")
    assert "user: worker" in machine.ours("whoami", HF_TOKEN_PATH=str(other))
    assert "No tokens" in machine.ours("list", HF_TOKEN_PATH=str(other))  # stored_tokens stands beside it


def test_login_follows_links_and_replaces_nothing_else(machine, tmp_path):
    machine.home.mkdir()
    (tmp_path / "kept").write_text("")
    (machine.home / "token").symlink_to(tmp_path / "kept")
    machine.ours("login", "--token", "hf_tester")
    assert (tmp_path / "kept").read_text() == "hf_tester" and (machine.home / "token").is_symlink()


@pytest.mark.parametrize("words, code, told", [
    (["login", "--token=hf_secret"], 1, "does not know the token"),
    (["login", "--token=api_org_secret"], 2, "an organization's"),
    (["login", "--token="], 2, "--token is empty"),
    (["login", "--token=hf_secret two"], 2, "the token of --token has a blank"),
    (["switch", "--token_name=none such"], 2, "there are: test token"),
    (["switch"], 2, "--token_name"),
    (["logout", "--token_name=none such"], 2, "there are: test token"),
], ids=lambda value: value[0] if isinstance(value, list) else "")  # fmt: skip
def test_what_is_refused_changes_nothing(machine, words, code, told):
    machine.ours("login", "--token", "hf_tester")
    before = machine.active, machine.stored
    assert told in machine.ours(*words, code=code)
    assert (machine.active, machine.stored) == before


def test_nobody_is_logged_in(machine):
    assert "nobody is logged in" in machine.ours("whoami", code=1)
    assert "does not know the token" in machine.ours("whoami", token="hf_secret", code=1)
    assert "the token of HF_TOKEN" in machine.ours("whoami", token="hf_se cret", code=2)
    assert "No tokens" in machine.ours("list")


@pytest.mark.parametrize("text", [
    "hf_token = hf_secret\n", "[a]\nhf_secret\n", "[a]\nhf_token = hf_secret\n[a]\nhf_token = x\n", "[a]\nx=1\nx=hf_secret\n",
    "\0\xff[", "[]\n",
], ids=range(6))  # fmt: skip
def test_a_broken_file_of_tokens_is_told_and_can_be_written_anew(machine, text):
    machine.home.mkdir()
    (machine.home / "stored_tokens").write_text(text, encoding="latin-1")
    assert "cannot understand" in machine.ours("list")
    machine.ours("login", "--token", "hf_tester")
    assert machine.stored == {"test token": {"hf_token": "hf_tester"}}


def test_files_written_by_hand_are_read_as_python_reads_them(machine):
    machine.home.mkdir()
    text = "# mine\n[ a b ]\nHF_Token: hf_tester\n; more\nexpires_at = soon\n\n[c] behind\nhf_token=\n"
    (machine.home / "stored_tokens").write_text(text)
    assert re.findall(r"^[* ] (.*)$", machine.ours("list"), re.M) == [" a b ", "c"] == list(machine.stored)
    machine.ours("switch", "--token_name= a b ")
    assert machine.active == "hf_tester"
    assert "is empty" in machine.ours("switch", "--token_name=c", code=1)


def test_names_from_the_server_cannot_write_other_lines(machine):
    machine.hub.users["hf_tester"].token_name = "a\n[b]\nhf_token = x\x1b[2J"
    shown = machine.ours("login", "--token", "hf_tester")
    assert "\x1b" not in shown and len(machine.stored) == 1
    machine.ours("switch", f"--token_name={next(iter(machine.stored))}")
    machine.hub.users["hf_tester"].token_name = "DEFAULT"
    machine.ours("login", "--token", "hf_tester")
    assert "tester" in machine.theirs("whoami") and len(machine.stored) == 2


def test_tokens_from_the_server_cannot_write_other_lines(machine):
    """Nor two logins by names that are one in the file."""
    machine.ours("login")
    for name, value in [("refresh_token", "x\n[evil]\nhf_token = y"), ("access_token", "x\r\ty")]:
        machine.hub.fail(path="/oauth/token", replace=lambda answer: answer | {name: value} if "access_token" in answer else answer, times=9)  # noqa: B023
        assert "the token of the Hub's answer" in machine.ours("login", "--force", code=2)
        machine.hub.faults.clear()
        assert list(machine.stored) == ["oauth-tester"]
    machine.hub.fail(path="/oauth/token", replace=lambda answer: answer | {"expires_in": 1e300} if "access_token" in answer else answer, times=9)
    machine.ours("login", "--force")
    assert int(machine.stored["oauth-tester"]["expires_at"]) > time.time()
    for name in ("token", "DEFAULT", " token", "to\x1bken", "to ken"):
        machine.hub.users["hf_tester"].token_name = name
        machine.ours("login", "--token", "hf_tester")
    assert set(machine.stored) == {"oauth-tester", "token", "to ken"}


def test_a_folder_of_others_stays_as_it_is(machine, tmp_path):
    """HF_TOKEN_PATH may be in /tmp."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    machine.ours("login", "--token", "hf_tester", HF_TOKEN_PATH=str(shared / "token"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (shared, shared / "token", shared / "stored_tokens")] == [0o755, 0o600, 0o600]


def test_offline(machine):
    assert "HF_HUB_OFFLINE" in machine.ours("whoami", token="hf_tester", code=1, HF_HUB_OFFLINE="1")
    assert not machine.hub.requests

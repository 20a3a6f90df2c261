"""A CI job without a token: what its provider says of it is exchanged at the Hub, as huggingface_hub does it."""

import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
from hub_routes import ID_TOKEN
from hub_server import HubServer

PROGRAM = os.environ.get("LORIKEET_BUILD_DIR", "build") + "/hub_program"  # the Hub's commands alone: it starts at once
TRUSTED = {"HF_OIDC_RESOURCE": "tester/lora"}
SECRETS = ("hf_jwt_", ID_TOKEN, "job-secret", "hf_tester")


class Provider(http.server.ThreadingHTTPServer):
    """GitHub's, as far as a job sees it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked, self.answer = [], (200, {"value": ID_TOKEN})
        self.url = f"http://127.0.0.1:{self.server_address[1]}/token?job=1"

    def job(self):
        return TRUSTED | {"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": self.url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job-secret"}


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers["authorization"]))
        status, answer = self.server.answer
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def github():
    with Provider() as provider:
        thread = threading.Thread(target=provider.serve_forever)
        thread.start()
        yield provider
        provider.shutdown()
        thread.join()


@pytest.fixture
def hub(tmp_path):
    with HubServer(tmp_path / "hub") as hub:
        yield hub
    assert not hub.leaks


def environment(hub, home, variables, token=None):
    env = {k: v for k, v in hub.environment(home, token).items() if not k.startswith(("GITHUB_", "ACTIONS_"))}
    return env | {"LORIKEET_HUB_BACKOFF": "0.01"} | variables


def ours(hub, home, *words, code=0, token=None, **variables):
    done = subprocess.run([PROGRAM, *map(str, words)], env=environment(hub, home, variables, token), capture_output=True, text=True,
                          timeout=60)  # fmt: skip
    assert done.returncode == code, done.stderr
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS), done.stderr
    return done.stdout + done.stderr


def theirs(hub, home, code, **variables):
    done = subprocess.run([sys.executable, "-c", "from huggingface_hub import *\n" + code], env=environment(hub, home, variables),
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("given", [True, False], ids=["HF_OIDC_ID_TOKEN", "GitHub Actions"])
def test_both_ask_the_same(hub, github, tmp_path, given):
    variables = TRUSTED | {"HF_OIDC_ID_TOKEN": ID_TOKEN} if given else github.job()
    asked = []
    for run in (lambda: ours(hub, tmp_path / "ours", "auth", "whoami", **variables),
                lambda: theirs(hub, tmp_path / "theirs", "print(whoami()['name'])", **variables)):  # fmt: skip
        hub.users = {token: user for token, user in hub.users.items() if not token.startswith("hf_jwt_")}
        start, github.asked = len(hub.requests), []
        assert "tester" in run()
        asked.append((hub.transcript(start), github.asked))
        assert len(asked) == 2 or all(path.startswith("/token?job=1&audience=http") for path, _ in github.asked)
    # The official client loses what is in GitHub's address already; GitHub's own way is to add to it.
    for _, minted in asked:
        minted[:] = [(path.replace("job=1&", ""), secret) for path, secret in minted]
    assert asked[0] == asked[1]
    requests, minted = asked[0]
    assert [r["request"] for r in requests] == ["POST /oauth/token", "GET /api/whoami-v2"]
    assert "authorization" not in requests[0]["headers"] and requests[0]["body"]["resource"] == "tester/lora"
    assert len(minted) == (0 if given else 1) and all("audience=http" in path and secret == "Bearer job-secret" for path, secret in minted)


def test_it_goes_before_all_other_tokens_and_one_is_enough(hub, tmp_path):
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora/pytorch_lora_weights.safetensors").write_bytes(b"weights")
    variables = TRUSTED | {"HF_OIDC_ID_TOKEN": ID_TOKEN}
    ours(hub, tmp_path / "home", "hub", "upload", "tester/lora", tmp_path / "lora", token="hf_other", **variables)
    assert "pytorch_lora_weights.safetensors" in hub.files("tester/lora")
    assert {r.headers["authorization"] for r in hub.requests if "authorization" in r.headers} == {"Bearer hf_jwt_1"}
    assert sum(r.path == "/oauth/token" for r in hub.requests) == 1
    assert not (tmp_path / "home/token").exists() and not (tmp_path / "home/stored_tokens").exists()
    start = len(hub.requests)
    ours(hub, tmp_path / "home", "hub", "ls", "tester/lora", "--hub_token=hf_tester", **variables)
    assert [r.headers["authorization"] for r in hub.requests[start:]] == ["Bearer hf_tester"], "one that is given wins"


@pytest.mark.parametrize("variables, told", [
    ({}, ["nothing that says who this job is", "HF_OIDC_ID_TOKEN"]),
    ({"GITHUB_ACTIONS": "true"}, ["GitHub Actions gives this job no identity", "id-token: write"]),
    ({"HF_OIDC_ID_TOKEN": "somebody-elses"}, ["no token for tester/lora (400)", "trusted publisher"]),
])  # fmt: skip
def test_what_fails_is_told_and_no_other_token_steps_in(hub, tmp_path, variables, told):
    shown = ours(hub, tmp_path / "home", "auth", "whoami", code=1, token="hf_tester", **TRUSTED, **variables)
    assert all(words in shown for words in told), shown
    assert "somebody-elses" not in shown and not [r for r in hub.requests if r.path == "/api/whoami-v2"]


@pytest.mark.parametrize("answer", [(500, {}), (403, {"message": "no"}), (302, {}), (200, {}), (200, []), (200, {"value": 7})], ids=str)
def test_a_provider_that_gives_nothing(hub, github, tmp_path, answer):
    github.answer = answer
    assert "GitHub Actions" in ours(hub, tmp_path / "home", "auth", "whoami", code=1, **github.job())
    assert not hub.requests


@pytest.mark.parametrize("answer", [[], {}, {"access_token": 7}, {"access_token": " \n"}], ids=str)
def test_a_hub_that_gives_nothing(hub, tmp_path, answer):
    hub.fail(path="/oauth/token", replace=lambda _: answer)
    ours(hub, tmp_path / "home", "auth", "whoami", code=1, **TRUSTED, HF_OIDC_ID_TOKEN=ID_TOKEN)
    assert not [r for r in hub.requests if r.path == "/api/whoami-v2"]


def test_a_lost_answer_is_asked_for_again(hub, tmp_path):
    hub.fail(path="/oauth/token", status=503)
    hub.fail(path="/oauth/token", lose=True)
    assert "tester" in ours(hub, tmp_path / "home", "auth", "whoami", **TRUSTED, HF_OIDC_ID_TOKEN=ID_TOKEN)

"""`--push_to_hub`: what it finds out before the training, what it uploads after it, and what is left when it fails."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer
from huggingface_hub import ModelCard
from run_support import BASE, LORA, PROGRAM, ROOT, caption_lists

MODEL = "someone/lorikeet-base"
# What Diffusers' scripts write for a Stable Diffusion LoRA (save_model_card), in their order.
METADATA = {"base_model": MODEL, "library_name": "diffusers", "license": "creativeml-openrail-m", "inference": True}
TAGS = {
    "dreambooth": ["text-to-image", "diffusers", "lora", "diffusers-training", "stable-diffusion", "stable-diffusion-diffusers"],
    "text-to-image": ["stable-diffusion", "stable-diffusion-diffusers", "text-to-image", "diffusers", "diffusers-training", "lora"],
}  # fmt: skip
PROMPT = "a photo of \"sks\" dog's face: 100% `new`\n\u2603"
SHORT = {"resolution": 32, "rank": 1, "train_batch_size": 1, "max_train_steps": 2, "seed": 0, "device": "cpu", "report_to": "jsonl",
         "push_to_hub": None}  # fmt: skip


@pytest.fixture
def hub(tmp_path):
    with HubServer(tmp_path / "hub") as hub:
        yield hub
    assert not hub.leaks


def train(hub, tmp_path, recipe="dreambooth", code=0, token="hf_tester", model=BASE, **more):
    """Its standard error. The run ends in the folder `My LoRA`."""
    flags = {"pretrained_model_name_or_path": model, "output_dir": tmp_path / "out/my-lora"} | SHORT
    if recipe == "dreambooth":
        flags |= {"instance_data_dir": ROOT / "examples/demo-subject", "instance_prompt": PROMPT}
    else:
        flags |= {"train_data_dir": caption_lists(tmp_path / "pictures")}
    flags |= more
    words = [f"--{name}" if value is None else f"--{name}={value}" for name, value in flags.items() if value is not False]
    env = hub.environment(tmp_path / "home", token) | {"LORIKEET_HUB_BACKOFF": "0.01"}
    done = subprocess.run([PROGRAM, "train", recipe, *words], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == code, done.stderr[-3000:]
    assert "hf_tester" not in done.stdout + done.stderr
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"hf_tester" not in file.read_bytes(), file
    return done.stderr


def official(hub, tmp_path, code):
    done = subprocess.run([sys.executable, "-c", "from huggingface_hub import *\n" + code], capture_output=True, text=True,
                          env=hub.environment(tmp_path / "their home"), timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("recipe", ["dreambooth", "text-to-image"])
def test_a_model_of_the_hub_is_trained_and_its_lora_is_there(hub, tmp_path, recipe):
    hub.put_repo(MODEL, BASE)
    shown = train(hub, tmp_path, recipe, model=MODEL, validation_prompt="a dog", num_validation_images=2, validation_steps=9)
    path = Path(official(hub, tmp_path, "print(snapshot_download('tester/my-lora'))"))
    files = {p.name for p in path.iterdir()}
    assert files == {".gitattributes", "README.md", LORA, "image_0.png", "image_1.png"}
    output = tmp_path / "out/my-lora"
    for name in files - {".gitattributes"}:
        assert (path / name).read_bytes() == (output / name).read_bytes()
    assert (output / "image_0.png").read_bytes() == (output / "validation/final/image_0.png").read_bytes()
    card = ModelCard.load(path / "README.md")
    prompt = {"instance_prompt": PROMPT} if recipe == "dreambooth" else {}
    assert card.data.to_dict() == METADATA | prompt | {"tags": TAGS[recipe]}
    keys = re.findall(r"^(\w+):", card.content.split("---")[1], re.M)
    assert keys == [*METADATA, *prompt, "tags"]
    assert "![img_1](./image_1.png)" in card.text and 'load_lora_weights("tester/my-lora")' in card.text
    assert re.search(f"On the Hub: {hub.url}/tester/my-lora/commit/[0-9a-f]{{40}}", shown)
    assert [m for _, m in hub.repo("tester/my-lora").history(hub.repo("tester/my-lora").resolve("main"))][0] == "End of training"


def test_the_command_in_the_card_makes_the_same_lora(hub, tmp_path):
    """As a shell reads it, with nothing but the output folder changed."""
    train(hub, tmp_path, hub_token="hf_tester")
    text = hub.files("tester/my-lora")["README.md"].decode()
    command = shlex.split(re.search("```bash\n(lorikeet train dreambooth .*?)```", text, re.S)[1].replace(" \\\n", " "))
    assert f"--instance_prompt={PROMPT}" in command and "--push_to_hub" in command and "hf_tester" not in text
    words = [w.replace("out/my-lora", "again") for w in command[1:] if w != "--push_to_hub"]
    subprocess.run([PROGRAM, *words], check=True, capture_output=True, timeout=120)
    assert (tmp_path / "again" / LORA).read_bytes() == (tmp_path / "out/my-lora" / LORA).read_bytes()


def test_a_model_of_this_machine_is_no_base_model(hub, tmp_path):
    """The Hub accepts ids only, and a path is nobody else's business in the metadata."""
    train(hub, tmp_path)
    card = ModelCard(hub.files("tester/my-lora")["README.md"].decode())
    assert card.data.base_model is None and "a model named `lorikeet-base`" in card.text


@pytest.mark.parametrize("more, token, code, told", [
    ({}, None, 1, ["nobody is logged in", "lorikeet auth login"]),
    ({}, "hf_wrong", 1, ["does not know the token"]),
    ({"hub_token": "hf_wrong"}, "hf_tester", 1, ["does not know the token"]),
    ({}, "hf_reader", 1, ["may only read"]),
    ({"hub_model_id": "other/lora"}, "hf_tester", 1, ["no member of, other", "--hub_model_id=tester/lora"]),
    ({"hub_model_id": "no good"}, "hf_tester", 2, ["no name for a repository", "--hub_model_id"]),
    ({"hub_model_id": "other/none", "hub_create_pr": None}, "hf_tester", 1, ["there is no model other/none"]),
    ({"instance_prompt": ""}, "hf_tester", 2, ["--instance_prompt"]),
    ({"report_to": "wandb", "hub_token": "hf_tester"}, None, 2, ["--report_to=wandb cannot be used with --hub_token"]),
], ids=range(9))  # fmt: skip
def test_what_cannot_be_pushed_is_told_before_the_training(hub, tmp_path, more, token, code, told):
    shown = train(hub, tmp_path, code=code, token=token, **more)
    assert all(words in shown for words in told), shown
    assert not (tmp_path / "out").exists() and not hub.repos


def test_a_server_that_answers_403_to_the_right_to_write(hub, tmp_path):
    hub.fail(path="/auth-check/write", status=403, body=b'{"error": "no write for you"}')
    assert "no write for you" in train(hub, tmp_path, code=1) and not list((tmp_path / "out/my-lora").iterdir())


@pytest.mark.parametrize("recipe", ["dreambooth", "text-to-image"])
def test_what_is_wrong_with_the_run_leaves_no_repository(hub, tmp_path, recipe):
    empty = tmp_path / "empty"
    empty.mkdir()
    data = "instance_data_dir" if recipe == "dreambooth" else "train_data_dir"
    (tmp_path / "file").write_text("no folder")
    wrongs = [{data: tmp_path / "none"}, {data: empty}, {"model": tmp_path / "none"}, {"output_dir": tmp_path / "file/lora"},
              {"resume_from_checkpoint": "checkpoint-7"}]  # fmt: skip
    for number, wrong in enumerate(wrongs):
        (tmp_path / str(number)).mkdir()
        train(hub, tmp_path / str(number), recipe, code=1, **wrong)
    assert not hub.repos and {r.path for r in hub.requests} == {"/api/whoami-v2"}


@pytest.mark.parametrize("prior", [False, True], ids=["", "prior preservation"])
def test_the_repository_is_made_before_what_takes_long(hub, tmp_path, prior):
    classes = tmp_path / "classes"
    classes.mkdir()
    prior = {"with_prior_preservation": None, "class_prompt": "a cat", "class_data_dir": classes, "num_class_images": 1} if prior else {}
    hub.fail(path="/api/repos/create", status=403, times=99)
    train(hub, tmp_path, code=1, **prior)
    assert not list(classes.iterdir()) and not list((tmp_path / "out").rglob("*.*"))
    hub.faults.clear()
    seen = []

    def look(answer):
        seen.append([*classes.iterdir(), *(tmp_path / "out").rglob("*.*")])
        return answer

    hub.fail(path="/api/repos/create", replace=look, times=99)
    train(hub, tmp_path, **prior)
    assert seen == [[]] and len(list(classes.iterdir())) == len(prior) // 4 and LORA in hub.files("tester/my-lora")


def test_a_dry_run_makes_nothing(hub, tmp_path):
    train(hub, tmp_path, dry_run=None)
    assert not hub.repos and [r.path for r in hub.requests] == ["/api/whoami-v2"]


@pytest.mark.parametrize("fault", [{"path": "/preupload/", "refuse": True}, {"path": "/upload/", "refuse": True},
                                   {"path": "/commit/", "status": 500}, {"path": "README.md", "refuse": True}], ids=str)  # fmt: skip
def test_a_push_that_fails_leaves_everything_and_the_command_to_try_again(hub, tmp_path, fault):
    hub.fail(times=99, **fault)
    pictures = {"validation_prompt": "a dog", "num_validation_images": 1, "validation_steps": 9} if "status" in fault else {}
    shown = train(hub, tmp_path, code=1, hub_model_id="lab/our-lora", hub_private_repo=None, **pictures)
    assert "the training is done" in shown and (tmp_path / "out/my-lora" / LORA).exists()
    hub.faults.clear()
    if "README" not in fault["path"]:
        command = shlex.split(re.search("push it with: lorikeet (.*)", shown)[1])
        env = hub.environment(tmp_path / "home")
        subprocess.run([PROGRAM, *command], check=True, capture_output=True, env=env, timeout=60)
        assert set(hub.files("lab/our-lora")) == {".gitattributes", "README.md", LORA} | ({"image_0.png"} if pictures else set())
        assert hub.settings["model", "lab/our-lora"]["private"]


def test_only_what_belongs_there(hub, tmp_path):
    more = {"checkpointing_steps": 1, "validation_split": 0.3, "keep_best": None, "validation_loss_steps": 1}
    output = tmp_path / "out/my-lora"
    output.mkdir(parents=True)
    (output / "notes.txt").write_text("mine")
    (output / "image_9.png").write_bytes(b"of another run")
    train(hub, tmp_path, **more)
    assert set(hub.files("tester/my-lora")) == {".gitattributes", "README.md", LORA, f"best/{LORA}"}
    train(hub, tmp_path, push_checkpoints=None, **more)
    files = {path for path in hub.files("tester/my-lora") if path.startswith("checkpoint-")}
    assert files == {f"checkpoint-{n}/{p.name}" for n in (1, 2) for p in (output / "checkpoint-1").iterdir()}


def test_an_existing_readme_is_kept(hub, tmp_path):
    mine = "---\nlicense: mit\ntags: [lora, 'my own']\nlanguage: en\n---\n# Mine\n\n---\ntags: none of these\n"
    hub.put_repo("tester/my-lora", {"README.md": mine.encode()})
    train(hub, tmp_path)
    card = ModelCard(hub.files("tester/my-lora")["README.md"].decode())
    tags = ["lora", "my own", *(tag for tag in TAGS["dreambooth"] if tag != "lora")]
    assert card.data.to_dict() == {"license": "mit", "tags": tags, "language": "en", "library_name": "diffusers"}
    assert card.text == "# Mine\n\n---\ntags: none of these\n"
    before = hub.files("tester/my-lora")["README.md"]
    train(hub, tmp_path, instance_prompt="another")
    assert hub.files("tester/my-lora")["README.md"] == before


@pytest.mark.parametrize("readme", [b"\xff\xfe\0binary\n", b"---\ntags: [x]\n---\n" + b"x" * (11 << 20)], ids=["binary", "huge"])
def test_a_readme_that_cannot_be_added_to_stays_as_it_is(hub, tmp_path, readme):
    hub.put_repo("tester/my-lora", {"README.md": readme})
    assert "it stays as it is" in train(hub, tmp_path)
    assert hub.files("tester/my-lora")["README.md"] == readme and LORA in hub.files("tester/my-lora")
    assert not (tmp_path / "out/my-lora/README.md").exists()


def test_the_token_is_in_no_file_and_no_line(hub, tmp_path, monkeypatch):
    """`train` looks at every line and at every file of the run; here all there are: of all trackers, checkpoints, and loud."""
    for name in ("HF_DEBUG", "WANDB_DEBUG"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(hub, tmp_path, report_to="all", checkpointing_steps=1, push_checkpoints=None)
    output = tmp_path / "out/my-lora"
    kinds = ("logs/**/*.wandb", "logs/**/events.out.*", "checkpoint-2/*.json", "**/*.jsonl", "README.md")
    assert not [kind for kind in kinds if not list(output.glob(kind))], sorted(str(p.relative_to(output)) for p in output.rglob("*"))
    assert not any(b"hf_tester" in data for data in hub.files("tester/my-lora").values())


def test_a_readme_of_this_machine_is_kept(hub, tmp_path):
    output = tmp_path / "out/my-lora"
    output.mkdir(parents=True)
    (output / "README.md").write_text("# Mine\n")
    train(hub, tmp_path)
    card = ModelCard(hub.files("tester/my-lora")["README.md"].decode())
    assert card.data.to_dict() == {"library_name": "diffusers", "tags": TAGS["dreambooth"]} and card.text == "# Mine\n"


def test_a_card_of_an_earlier_run_is_written_anew(hub, tmp_path):
    hub.fail(path="/commit/", status=403)
    train(hub, tmp_path, code=1)
    train(hub, tmp_path, instance_prompt="another prompt")
    assert ModelCard(hub.files("tester/my-lora")["README.md"].decode()).data.to_dict()["instance_prompt"] == "another prompt"


def test_a_pull_request(hub, tmp_path):
    hub.put_repo("other/lora", {"README.md": b"# Theirs\n"})
    shown = train(hub, tmp_path, hub_model_id="other/lora", hub_create_pr=None)
    assert f"On the Hub: {hub.url}/other/lora/discussions/1" in shown
    assert LORA in hub.files("other/lora", revision="refs/pr/1") and LORA not in hub.files("other/lora")


def test_a_private_repository_and_a_folder_s_name(hub, tmp_path):
    train(hub, tmp_path, hub_private_repo=None, output_dir=f"{tmp_path}/out/x/../named.by-folder_1/")
    assert hub.settings["model", "tester/named.by-folder_1"]["private"]

"""Runs Diffusers' script and our reference trainer on every scenario, holds them together and writes the traces.

    OMP_NUM_THREADS=1 python tools/reference/dreambooth_traces.py SCRIPT [SCENARIO...]

SCRIPT is examples/dreambooth/train_dreambooth_lora.py of diffusers 58eb52c0, which is not in this repository. Made with
torch 2.11.0 (CPU), torchvision 0.26.0, diffusers 0.42.1, transformers 5.23.0, peft 0.21.2, accelerate 1.15.0.
Writes tests/data/dreambooth_traces/SCENARIO.json, SCENARIO.safetensors (the script's trained up matrices, all in one row, in
the order of their sorted names) and lora_keys.txt; stops when the two programs disagree.
"""

import pathlib
import sys
import tempfile

import training_traces as traces
from dreambooth_scenarios import TRACES, Workspace

HERE = pathlib.Path(__file__).resolve().parent


def record(name, script, workspace):
    folder = workspace.folder
    scripts, ours = folder / f"script-{name}", folder / f"ours-{name}"
    theirs_log = traces.run([HERE / "dreambooth_record.py", script], folder / "a.json", workspace.command(name, scripts))
    our_log = traces.run([HERE / "dreambooth_trainer.py"], folder / "b.json", workspace.command(name, ours))
    loss_difference = traces.largest_difference(name, our_log, theirs_log, "loss")
    theirs, our = traces.trained(scripts), traces.trained(ours)
    made_by = f"python tools/reference/dreambooth_traces.py train_dreambooth_lora.py {name}"
    trace = {
        **traces.provenance(name, workspace.written_command(name), made_by),
        **traces.agreement(name, loss_difference, our, theirs),
        "script": theirs_log,
        "reference_trainer": our_log,
    }
    if name == "class_generation":
        made = sorted(pathlib.Path(f"{scripts}-pixels").iterdir())
        assert [p.name for p in made] == [p.name for p in sorted(pathlib.Path(f"{ours}-pixels").iterdir())]
        trace["class_pictures"] = [path.stem for path in made]
        for i, path in enumerate(made):
            (TRACES / f"class_picture_{i}.png").write_bytes(path.read_bytes())
    if name == "text_encoder":
        (TRACES / "lora_keys.txt").write_text(traces.key_contract(theirs))
    traces.write_trace(TRACES, trace, theirs)


def main():
    script, *names = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        for name in names or workspace.SCENARIOS:
            record(name, script, workspace)


if __name__ == "__main__":
    main()

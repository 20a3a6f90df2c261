"""Runs Diffusers' script and our reference trainer on every scenario, holds them together and writes the traces.

    OMP_NUM_THREADS=1 python tools/reference/text_to_image_traces.py SCRIPT [SCENARIO...]

SCRIPT is examples/text_to_image/train_text_to_image_lora.py of diffusers 58eb52c0, which is not in this repository. Made with
torch 2.11.0 (CPU), torchvision 0.26.0, diffusers 0.42.1, transformers 5.23.0, peft 0.21.2, accelerate 1.15.0, datasets 5.2.0.
Writes tests/data/text_to_image_traces/SCENARIO.json, SCENARIO.safetensors (the script's trained up matrices, all in one row, in
the order of their sorted names) and lora_keys.txt; stops when the two programs disagree.
"""

import pathlib
import sys
import tempfile

import training_traces as traces
from text_to_image_scenarios import TRACES, Workspace

HERE = pathlib.Path(__file__).resolve().parent


def record(name, script, workspace):
    folder = workspace.folder
    scripts, ours = folder / f"script-{name}", folder / f"ours-{name}"
    theirs_log = traces.run(
        [HERE / "text_to_image_record.py", script],
        folder / "a.json",
        workspace.command(name, scripts),
        HF_DATASETS_CACHE=str(folder / f"cache-{name}"),
    )
    our_log = traces.run([HERE / "text_to_image_trainer.py"], folder / "b.json", workspace.command(name, ours))
    loss_difference = max(
        traces.largest_difference(name, our_log["steps"], theirs_log["steps"], "train_loss"),
        traces.largest_difference(name, our_log["micro_steps"], theirs_log["micro_steps"], "step_loss"),
    )
    theirs, our = traces.trained(scripts), traces.trained(ours)
    made_by = f"python tools/reference/text_to_image_traces.py train_text_to_image_lora.py {name}"
    trace = {
        **traces.provenance(name, workspace.written_command(name), made_by, ["datasets"]),
        **traces.agreement(name, loss_difference, our, theirs),
        "script": theirs_log,
        "reference_trainer": our_log,
    }
    if name == "one_at_a_time":
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

"""Runs Diffusers' own train_text_to_image_lora.py unchanged and writes down what it logs.

    python tools/reference/text_to_image_record.py SCRIPT TRACE.json FLAGS...

SCRIPT is examples/text_to_image/train_text_to_image_lora.py of diffusers, commit 58eb52c0. Three things are changed
around it: metadata files in several folders are read in the order of their paths (datasets 5.2.0 keeps them in a set of
strings, so theirs changes from process to process); `Accelerator.log` also keeps every value in full precision; and so
does the progress bar, which alone is told the loss and the learning rate of every micro-step. `--algo` and `--target_modules` go into the script's
LoraConfig.
"""

import collections
import json
import pathlib
import runpy
import sys
import types

from training_scenarios import change_lora_config


class SetInOrder(dict):
    """As much of a set as datasets uses, remembering what was added first."""

    def add(self, value):
        self[value] = None


def read_metadata_in_path_order():
    from datasets.packaged_modules.folder_based_builder import folder_based_builder

    def defaultdict(kind):
        return collections.defaultdict(SetInOrder if kind is set else kind)

    folder_based_builder.collections = types.SimpleNamespace(defaultdict=defaultdict)


def keep_steps(steps):
    import accelerate

    log = accelerate.Accelerator.log

    def log_and_keep(accelerator, values, step=None, **more):
        steps.append({"step": step, **values})
        log(accelerator, values, step=step, **more)

    accelerate.Accelerator.log = log_and_keep


def keep_micro_steps(micro_steps):
    import tqdm.auto

    show = tqdm.auto.tqdm.set_postfix

    def show_and_keep(bar, *arguments, **values):
        if "step_loss" in values:
            micro_steps.append(values)
        show(bar, *arguments, **values)

    tqdm.auto.tqdm.set_postfix = show_and_keep


def main():
    script, trace_path, *flags = sys.argv[1:]
    trace = {"steps": [], "micro_steps": []}
    read_metadata_in_path_order()
    keep_steps(trace["steps"])
    keep_micro_steps(trace["micro_steps"])
    sys.argv = [script, *change_lora_config(flags)]
    runpy.run_path(script, run_name="__main__")
    pathlib.Path(trace_path).write_text(json.dumps(trace))


if __name__ == "__main__":
    main()

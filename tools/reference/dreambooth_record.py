"""Runs Diffusers' own train_dreambooth_lora.py unchanged and writes down what it logs.

    python tools/reference/dreambooth_record.py SCRIPT TRACE.json FLAGS...

SCRIPT is examples/dreambooth/train_dreambooth_lora.py of diffusers, commit 58eb52c0. Two things are changed around it:
`Path.iterdir` is sorted (the script takes the folder's own order), and `Accelerator.log` also appends every value to
the trace in full precision. `--algo` and `--target_modules` go into the script's LoraConfig. Generated class pictures are kept as PNG beside the script's JPEG, in OUTPUT_DIR-pixels.
"""

import json
import pathlib
import runpy
import sys

from training_scenarios import change_lora_config


def main():
    script, trace_path, *flags = sys.argv[1:]
    listing = pathlib.Path.iterdir
    pathlib.Path.iterdir = lambda folder: iter(sorted(listing(folder)))

    import accelerate
    from PIL import Image

    steps = []
    log = accelerate.Accelerator.log

    def log_and_keep(accelerator, values, step=None, **more):
        steps.append({"step": step, **values})
        log(accelerator, values, step=step, **more)

    accelerate.Accelerator.log = log_and_keep

    output_dir = next(flag.split("=", 1)[1] for flag in flags if flag.startswith("--output_dir="))
    save = Image.Image.save

    def save_and_keep(image, target, *arguments, **more):
        if str(target).startswith(f"{output_dir}-classes"):
            pixels = pathlib.Path(f"{output_dir}-pixels")
            pixels.mkdir(exist_ok=True)
            save(image, pixels / (pathlib.Path(target).stem + ".png"))
        save(image, target, *arguments, **more)

    Image.Image.save = save_and_keep

    sys.argv = [script, *change_lora_config(flags)]
    runpy.run_path(script, run_name="__main__")
    pathlib.Path(trace_path).write_text(json.dumps(steps))


if __name__ == "__main__":
    main()

"""Our reference text-to-image LoRA trainer: every random draw, rounding and schedule of Diffusers' script, spelled out.

    python tools/reference/text_to_image_trainer.py TRACE.json FLAGS...

FLAGS are those of Diffusers' train_text_to_image_lora.py (one process, CPU, fp32 or bf16, data in a folder). What it
shares with our other trainer, and the libraries both need, is in training_common.py; instead of datasets it has the few
lines of `read_rows`. tools/reference/text_to_image_traces.py holds it against the script itself.
"""

import csv
import io
import json
import math
import pathlib
import random
import sys

import numpy as np
import torch
import training_common as common
from transformers import CLIPTokenizer

VALUES = {  # flag: (type, default)
    "train_data_dir": (str, None),
    "dataset_name": (str, None),
    "image_column": (str, "image"),
    "caption_column": (str, "text"),
    "max_train_samples": (int, None),
    "output_dir": (str, "sd-model-finetuned-lora"),
    "train_batch_size": (int, 16),
    "num_train_epochs": (int, 100),
    "learning_rate": (float, 1e-4),
    "snr_gamma": (float, None),
    "prediction_type": (str, None),
    "noise_offset": (float, 0),
}
SWITCHES = ["random_flip"]


def parse(arguments):
    return common.parse_flags(arguments, VALUES, SWITCHES)


def renamed(row, folder):
    """A metadata row with `file_name` as the path `image`, and `X_file_name` as the path `X`."""
    result = {}
    for key, value in row.items():
        if key == "file_name" or key.endswith("_file_name"):
            key, value = key.removesuffix("file_name").removesuffix("_") or "image", folder / value
        result[key] = value
    return result


def read_metadata(path):
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def read_image_folder(folder):
    """Rows in the order of the metadata files' paths, then of their lines. A picture no line names is left out."""
    files = sorted((*folder.rglob("metadata.jsonl"), *folder.rglob("metadata.csv")), key=str)
    return [renamed(row, path.parent) for path in files for row in read_metadata(path)]


def read_parquet(folder):
    """Rows in the order of the training files' paths, then of their places in them; pictures as bytes."""
    import pyarrow.parquet

    rows = []
    for path in sorted((folder / "data").glob("train-*.parquet"), key=str):
        rows += pyarrow.parquet.read_table(path).to_pylist()
    return [{**row, "image": io.BytesIO(row["image"]["bytes"])} for row in rows]


def read_rows(options):
    """(picture, caption or captions) of every example, in the order that the shuffle of an epoch starts from."""
    if options.dataset_name is not None:
        rows = read_parquet(pathlib.Path(options.dataset_name))
    else:
        rows = read_image_folder(pathlib.Path(options.train_data_dir))
    rows = [(row[options.image_column], row[options.caption_column]) for row in rows]
    if options.max_train_samples is not None:
        # numpy's PCG64, seeded by the flag itself: it takes nothing from the other generators.
        order = np.random.default_rng(options.seed).permutation(len(rows))
        rows = [rows[index] for index in order[: options.max_train_samples]]
    return rows


class Batches:
    """One epoch per iteration: ((pixels, token ids), is the last one)."""

    def __init__(self, options):
        self.options = options
        self.rows = read_rows(options)
        self.tokenizer = CLIPTokenizer.from_pretrained(options.pretrained_model_name_or_path, subfolder="tokenizer")

    def __len__(self):
        return math.ceil(len(self.rows) / self.options.train_batch_size)

    def load_picture(self, source):
        picture = common.resize_and_crop(common.open_picture(source), self.options)
        # The flip's draw comes after the crop's two, and is made also when there was nothing to crop.
        if self.options.random_flip and torch.rand(1).item() < 0.5:
            picture = picture.transpose(common.Image.Transpose.FLIP_LEFT_RIGHT)
        return common.to_pixels(picture)

    def load(self, indices):
        rows = [self.rows[index] for index in indices]
        pixels = torch.stack([self.load_picture(source) for source, _ in rows])
        # CPython's own generator, which nothing else draws from. A list of one takes a draw too.
        captions = [text if isinstance(text, str) else random.choice(text) for _, text in rows]
        tokens = self.tokenizer(
            captions,
            truncation=True,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        return pixels, tokens.input_ids

    def __iter__(self):
        return common.one_epoch(len(self.rows), self.options.train_batch_size, self.load)


def snr_weights(noise_scheduler, timesteps, gamma, prediction_type):
    """Min-SNR: min(snr, gamma) over snr where noise is predicted, over snr + 1 where velocity is."""
    alphas = noise_scheduler.alphas_cumprod
    snr = ((alphas**0.5)[timesteps] / ((1.0 - alphas) ** 0.5)[timesteps]) ** 2
    return snr.clamp(max=gamma) / (snr if prediction_type == "epsilon" else snr + 1)


class Trainer:
    def __init__(self, options):
        self.options = options
        if options.seed is not None:
            common.seed_everything(options.seed)
        self.models = common.FrozenModels(options)
        self.trained = common.add_lora(self.models.unet, options.target_modules, options)
        if options.gradient_checkpointing:
            self.models.unet.enable_gradient_checkpointing()
        self.models.unet.train()
        self.prediction_type = options.prediction_type or self.models.noise_scheduler.config.prediction_type
        self.batches = Batches(options)
        self.plan = common.Plan(options, self.trained, len(self.batches))

    def draw_noise(self, latents):
        """The offset, one number for each channel of each picture, is drawn between the noise and the timesteps."""
        noise = torch.randn_like(latents)
        if self.options.noise_offset:
            noise += self.options.noise_offset * torch.randn((*latents.shape[:2], 1, 1))
        return noise

    def loss(self, pixels, tokens):
        models, options = self.models, self.options
        latents = models.latents(pixels)
        noise = self.draw_noise(latents)
        timesteps = models.draw_timesteps(len(latents))
        noisy = models.noise_scheduler.add_noise(latents, noise, timesteps)
        embeddings = models.text_encoder(tokens, return_dict=False)[0]
        prediction = models.predict(noisy, timesteps, embeddings)
        target = noise
        if self.prediction_type == "v_prediction":
            target = models.noise_scheduler.get_velocity(latents, noise, timesteps)
        if options.snr_gamma is None:
            return common.mean_square(prediction, target)
        of_pictures = (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
        weights = snr_weights(models.noise_scheduler, timesteps, options.snr_gamma, self.prediction_type)
        return (of_pictures * weights).mean()

    def logged_loss(self, loss):
        """The script averages as many copies as a full batch has pictures, which may round."""
        return loss.detach().repeat(self.options.train_batch_size).mean().item()

    def train(self):
        """What the script logs: {step, train_loss} of every step; and {step_loss, lr} of every micro-step.

        A step's train_loss is the sum over its micro-steps, each divided by the FULL count of a group, so a short last
        group logs less. The gradient is divided likewise. The gradients are not clipped: the script means to, but gives
        the clipping the iterator that the optimizer has already used up. The lr is the NEXT step's.
        """
        accumulation = self.options.gradient_accumulation_steps
        log, step = {"steps": [], "micro_steps": []}, 0
        for _ in range(self.plan.epochs):
            micro_step, train_loss = 0, 0.0
            for (pixels, tokens), is_last in self.batches:
                micro_step += 1
                loss = self.loss(pixels, tokens)
                train_loss += self.logged_loss(loss) / accumulation
                (loss / accumulation).backward()
                if is_last or micro_step % accumulation == 0:
                    self.plan.update()
                    step += 1
                    log["steps"].append({"step": step, "train_loss": train_loss})
                    train_loss = 0.0
                log["micro_steps"].append({"step_loss": loss.item(), "lr": self.plan.rate()})
                if step >= self.plan.max_steps:
                    return log
        return log

    def save(self):
        common.save_lora(common.unet_weights(self.models.unet), self.options.output_dir)


def main():
    trace_path, *flags = sys.argv[1:]
    trainer = Trainer(parse(flags))
    pathlib.Path(trace_path).write_text(json.dumps(trainer.train()))
    trainer.save()


if __name__ == "__main__":
    main()

"""Our reference DreamBooth LoRA trainer: every random draw, rounding and schedule of Diffusers' script, spelled out.

    python tools/reference/dreambooth_trainer.py TRACE.json FLAGS...

FLAGS are those of Diffusers' train_dreambooth_lora.py (one process, CPU, fp32 or bf16). What it shares with our other
trainer, and the libraries both need, is in training_common.py. tools/reference/dreambooth_traces.py holds it against the
script itself.
"""

import hashlib
import json
import math
import pathlib
import sys
from contextlib import nullcontext

import torch
import training_common as common
from diffusers import DiffusionPipeline
from training_scenarios import diffusers_spelling
from transformers import CLIPTokenizer

TEXT_ENCODER_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]

VALUES = {  # flag: (type, default)
    "instance_data_dir": (str, None),
    "instance_prompt": (str, None),
    "class_data_dir": (str, None),
    "class_prompt": (str, None),
    "output_dir": (str, "lora-dreambooth-model"),
    "train_batch_size": (int, 4),
    "sample_batch_size": (int, 4),
    "num_class_images": (int, 100),
    "prior_loss_weight": (float, 1.0),
    "prior_generation_precision": (str, None),
    "num_train_epochs": (int, 1),
    "learning_rate": (float, 5e-4),
    "lr_num_cycles": (int, 1),
    "lr_power": (float, 1.0),
    "lora_dropout": (float, 0.0),
    "tokenizer_max_length": (int, None),
}
SWITCHES = [
    "with_prior_preservation",
    "train_text_encoder",
    "pre_compute_text_embeddings",
    "text_encoder_use_attention_mask",
]


def parse(arguments):
    return common.parse_flags(arguments, VALUES, SWITCHES)


def files_of(folder):
    return sorted(pathlib.Path(folder).iterdir())


def generate_class_pictures(options):
    """Fills the class folder up to num_class_images, drawing from the training's own generator."""
    folder = pathlib.Path(options.class_data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    present = len(files_of(folder))
    missing = options.num_class_images - present
    if missing <= 0:
        return
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(options.prior_generation_precision, torch.float32)
    pipeline = DiffusionPipeline.from_pretrained(
        options.pretrained_model_name_or_path, dtype=dtype, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    pixels = pathlib.Path(f"{options.output_dir}-pixels")
    pixels.mkdir(parents=True, exist_ok=True)
    common.draw_seed()  # the sampling DataLoader's
    for first in range(0, missing, options.sample_batch_size):
        count = min(options.sample_batch_size, missing - first)
        for i, picture in enumerate(pipeline([options.class_prompt] * count).images):
            name = f"{present + first + i}-{hashlib.sha1(picture.tobytes()).hexdigest()}"
            picture.save(folder / f"{name}.jpg")
            picture.save(pixels / f"{name}.png")


def load_picture(path, options):
    return common.to_pixels(common.resize_and_crop(common.open_picture(path), options))


class Batches:
    """One epoch per iteration: (pixels, is the last one). Class rows follow all instance rows of a batch."""

    def __init__(self, options):
        self.options = options
        self.instances = files_of(options.instance_data_dir)
        self.classes = []
        if options.with_prior_preservation:
            self.classes = files_of(options.class_data_dir)
        self.class_count = min(len(self.classes), options.num_class_images)
        self.length = max(len(self.instances), self.class_count)

    def __len__(self):
        return math.ceil(self.length / self.options.train_batch_size)

    def load(self, indices):
        instance_rows, class_rows = [], []
        for index in indices:
            instance_rows.append(load_picture(self.instances[index % len(self.instances)], self.options))
            if self.classes:
                class_rows.append(load_picture(self.classes[index % self.class_count], self.options))
        return torch.stack(instance_rows + class_rows)

    def __iter__(self):
        return common.one_epoch(self.length, self.options.train_batch_size, self.load)


class Prompts:
    """Embeddings of the instance prompt and, under prior preservation, of the class prompt."""

    def __init__(self, options, text_encoder):
        self.text_encoder = text_encoder
        self.tokenizer = CLIPTokenizer.from_pretrained(options.pretrained_model_name_or_path, subfolder="tokenizer")
        self.max_length = options.tokenizer_max_length or self.tokenizer.model_max_length
        self.use_mask = options.text_encoder_use_attention_mask
        self.texts = [options.instance_prompt]
        if options.with_prior_preservation:
            self.texts.append(options.class_prompt)
        self.tokens = [self.tokenize(text) for text in self.texts]
        self.ready = None
        if options.pre_compute_text_embeddings:
            with torch.no_grad():
                self.ready = [self.encode(tokens.input_ids, tokens.attention_mask) for tokens in self.tokens]

    def tokenize(self, text):
        return self.tokenizer(
            text, truncation=True, padding="max_length", max_length=self.max_length, return_tensors="pt"
        )

    def encode(self, ids, mask):
        return self.text_encoder(ids, attention_mask=mask if self.use_mask else None)[0]

    def embeddings(self, samples):
        """`samples` rows of each prompt, instance first."""
        if self.ready is not None:
            return torch.cat([row for row in self.ready for _ in range(samples)])
        return self.encode(torch.cat([tokens.input_ids for tokens in self.tokens for _ in range(samples)]), None)


def clip(parameters, limit):
    """Scales by min(1, limit / (norm + 1e-6)); the multiplication happens also when it is by one."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    factor = torch.clamp(limit / (norm + 1e-6), max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)


class Trainer:
    def __init__(self, options):
        self.options = options
        if options.seed is not None:
            common.seed_everything(options.seed)
        if options.with_prior_preservation:
            generate_class_pictures(options)
        self.models = common.FrozenModels(options)
        self.unet, self.text_encoder = self.models.unet, self.models.text_encoder
        if options.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
            if options.train_text_encoder:
                self.text_encoder.gradient_checkpointing_enable()
        self.unet.train()
        self.trained = common.add_lora(self.unet, options.target_modules, options, options.lora_dropout)
        if options.train_text_encoder:
            self.trained += common.add_lora(self.text_encoder, TEXT_ENCODER_TARGETS, options, options.lora_dropout)
        self.prompts = Prompts(options, self.text_encoder)
        if options.train_text_encoder:
            self.text_encoder.train()
        self.batches = Batches(options)
        self.plan = common.Plan(
            options, self.trained, len(self.batches), num_cycles=options.lr_num_cycles, power=options.lr_power
        )

    def loss(self, pixels):
        options, models = self.options, self.models
        latents = models.latents(pixels)
        noise = torch.randn_like(latents)
        timesteps = models.draw_timesteps(len(latents))
        noisy = models.noise_scheduler.add_noise(latents, noise, timesteps)
        samples = len(pixels) // (2 if options.with_prior_preservation else 1)
        with models.precision() if options.train_text_encoder else nullcontext():
            embeddings = self.prompts.embeddings(samples)
        if options.train_text_encoder:
            embeddings = embeddings.float()
        prediction = models.predict(noisy, timesteps, embeddings)
        target = noise
        if models.noise_scheduler.config.prediction_type == "v_prediction":
            target = models.noise_scheduler.get_velocity(latents, noise, timesteps)
        if not options.with_prior_preservation:
            return common.mean_square(prediction, target)
        prior = common.mean_square(prediction[samples:], target[samples:])
        return common.mean_square(prediction[:samples], target[:samples]) + options.prior_loss_weight * prior

    def train(self):
        """The list of {step, loss, lr} that the script logs: one per micro-step, the lr being the NEXT step's."""
        logged, step = [], 0
        for _ in range(self.plan.epochs):
            micro_step = 0
            for pixels, is_last in self.batches:
                micro_step += 1
                loss = self.loss(pixels)
                (loss / self.options.gradient_accumulation_steps).backward()
                # A short last group is stepped all the same, and still divided by the full count.
                if is_last or micro_step % self.options.gradient_accumulation_steps == 0:
                    clip(self.trained, self.options.max_grad_norm)
                    self.plan.update()
                    step += 1
                logged.append({"step": step, "loss": loss.item(), "lr": self.plan.rate()})
                if step >= self.plan.max_steps:
                    return logged
        return logged

    def save(self):
        """Diffusers' final format; only the UNet's factors are brought back to fp32."""
        weights = common.unet_weights(self.unet)
        for name, value in self.text_encoder.named_parameters():
            if value.requires_grad:
                weights[diffusers_spelling("text_encoder." + name.replace(".default", ""))] = value
        common.save_lora(weights, self.options.output_dir)


def main():
    trace_path, *flags = sys.argv[1:]
    trainer = Trainer(parse(flags))
    pathlib.Path(trace_path).write_text(json.dumps(trainer.train()))
    trainer.save()


if __name__ == "__main__":
    main()

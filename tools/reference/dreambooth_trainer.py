"""Our reference DreamBooth LoRA trainer: every random draw, rounding and schedule of Diffusers' script, spelled out.

    python tools/reference/dreambooth_trainer.py TRACE.json FLAGS...

FLAGS are those of Diffusers' train_dreambooth_lora.py (one process, CPU, fp32 or bf16). It needs PyPI's torch 2.11.0,
torchvision 0.26.0, diffusers 0.42.1, transformers 5.23.0 and peft 0.21.2, and no accelerate: what accelerate does to
the numbers (one batch of prefetch, the divided loss, the short last group) is written out here.
tools/reference/dreambooth_traces.py holds it against the script itself.
"""

import argparse
import hashlib
import json
import math
import pathlib
import random
import sys
from contextlib import nullcontext

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from peft import LoraConfig
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torchvision.transforms import functional as image_functions
from torchvision.transforms import InterpolationMode
from transformers import CLIPTextModel, CLIPTokenizer

UNET_TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]
TEXT_ENCODER_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]

VALUES = {  # flag: (type, default)
    "pretrained_model_name_or_path": (str, None),
    "instance_data_dir": (str, None),
    "instance_prompt": (str, None),
    "class_data_dir": (str, None),
    "class_prompt": (str, None),
    "output_dir": (str, "lora-dreambooth-model"),
    "seed": (int, None),
    "resolution": (int, 512),
    "train_batch_size": (int, 4),
    "sample_batch_size": (int, 4),
    "num_class_images": (int, 100),
    "prior_loss_weight": (float, 1.0),
    "prior_generation_precision": (str, None),
    "num_train_epochs": (int, 1),
    "max_train_steps": (int, None),
    "gradient_accumulation_steps": (int, 1),
    "learning_rate": (float, 5e-4),
    "lr_scheduler": (str, "constant"),
    "lr_warmup_steps": (int, 500),
    "lr_num_cycles": (int, 1),
    "lr_power": (float, 1.0),
    "adam_beta1": (float, 0.9),
    "adam_beta2": (float, 0.999),
    "adam_weight_decay": (float, 1e-2),
    "adam_epsilon": (float, 1e-8),
    "max_grad_norm": (float, 1.0),
    "rank": (int, 4),
    "lora_dropout": (float, 0.0),
    "mixed_precision": (str, "no"),
    "tokenizer_max_length": (int, None),
    "image_interpolation_mode": (str, "lanczos"),
}
SWITCHES = [
    "with_prior_preservation",
    "center_crop",
    "train_text_encoder",
    "gradient_checkpointing",
    "scale_lr",
    "pre_compute_text_embeddings",
    "text_encoder_use_attention_mask",
]


def parse(arguments):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name, (kind, default) in VALUES.items():
        parser.add_argument(f"--{name}", type=kind, default=default)
    for name in SWITCHES:
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args(arguments)


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def draw_seed():
    """One int64 from the default generator, as DataLoader and RandomSampler each take one per epoch."""
    return int(torch.empty((), dtype=torch.int64).random_().item())


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
    draw_seed()  # the sampling DataLoader's
    for first in range(0, missing, options.sample_batch_size):
        count = min(options.sample_batch_size, missing - first)
        for i, picture in enumerate(pipeline([options.class_prompt] * count).images):
            name = f"{present + first + i}-{hashlib.sha1(picture.tobytes()).hexdigest()}"
            picture.save(folder / f"{name}.jpg")
            picture.save(pixels / f"{name}.png")


def load_picture(path, options):
    """Pixels [3,h,w] in -1..1. A random crop draws twice, and not at all when nothing is to be cut."""
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    size = options.resolution
    mode = InterpolationMode[options.image_interpolation_mode.upper()]
    picture = image_functions.resize(picture, size, interpolation=mode)
    if options.center_crop:
        picture = image_functions.center_crop(picture, size)
    elif picture.size != (size, size):
        width, height = picture.size
        top = torch.randint(0, height - size + 1, (1,)).item()
        left = torch.randint(0, width - size + 1, (1,)).item()
        picture = image_functions.crop(picture, top, left, size, size)
    return image_functions.normalize(image_functions.to_tensor(picture), [0.5], [0.5])


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
        draw_seed()  # the DataLoader's base seed, used by worker processes only
        order = torch.randperm(self.length, generator=torch.Generator().manual_seed(draw_seed())).tolist()
        size = self.options.train_batch_size
        groups = [order[start : start + size] for start in range(0, self.length, size)]
        ready = self.load(groups[0])
        for following in groups[1:]:
            # The next batch's crops are drawn before this batch is trained on: one batch of prefetch.
            prefetched = self.load(following)
            yield ready, False
            ready = prefetched
        yield ready, True


def add_lora(model, targets, options):
    """PEFT draws A (Kaiming), B (Kaiming), A again (normal, 1/rank) per module, in registration order, in fp32."""
    model.add_adapter(
        LoraConfig(
            r=options.rank,
            lora_alpha=options.rank,
            lora_dropout=options.lora_dropout,
            init_lora_weights="gaussian",
            target_modules=targets,
        )
    )
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


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


def mean_square(prediction, target):
    return torch.nn.functional.mse_loss(prediction.float(), target.float())


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
        self.dtype = torch.bfloat16 if options.mixed_precision == "bf16" else torch.float32
        if options.seed is not None:
            seed_everything(options.seed)
        if options.with_prior_preservation:
            generate_class_pictures(options)
        model = options.pretrained_model_name_or_path
        self.noise_scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
        self.text_encoder = CLIPTextModel.from_pretrained(model, subfolder="text_encoder")
        self.vae = AutoencoderKL.from_pretrained(model, subfolder="vae")
        self.unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
        for module in (self.text_encoder, self.vae, self.unet):
            module.requires_grad_(False)
            module.to(self.dtype)
        if options.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
            if options.train_text_encoder:
                self.text_encoder.gradient_checkpointing_enable()
        self.unet.train()
        self.trained = add_lora(self.unet, UNET_TARGETS, options)
        if options.train_text_encoder:
            self.trained += add_lora(self.text_encoder, TEXT_ENCODER_TARGETS, options)
        self.prompts = Prompts(options, self.text_encoder)
        if options.train_text_encoder:
            self.text_encoder.train()
        self.batches = Batches(options)
        self.plan()

    def plan(self):
        """Counts steps and makes optimizer and learning-rate schedule."""
        options = self.options
        steps_per_epoch = math.ceil(len(self.batches) / options.gradient_accumulation_steps)
        self.max_steps = options.max_train_steps or options.num_train_epochs * steps_per_epoch
        self.epochs = math.ceil(self.max_steps / steps_per_epoch)
        rate = options.learning_rate
        if options.scale_lr:
            rate = rate * options.gradient_accumulation_steps * options.train_batch_size
        self.optimizer = torch.optim.AdamW(
            self.trained,
            lr=rate,
            betas=(options.adam_beta1, options.adam_beta2),
            weight_decay=options.adam_weight_decay,
            eps=options.adam_epsilon,
        )
        self.schedule = get_scheduler(
            options.lr_scheduler,
            optimizer=self.optimizer,
            num_warmup_steps=options.lr_warmup_steps,
            num_training_steps=self.max_steps,
            num_cycles=options.lr_num_cycles,
            power=options.lr_power,
        )

    def precision(self):
        """Under bf16 only what is trained runs in autocast; the frozen models run in plain bf16."""
        if self.dtype == torch.bfloat16:
            return torch.autocast("cpu", torch.bfloat16)
        return nullcontext()

    def loss(self, pixels):
        options = self.options
        latents = self.vae.encode(pixels.to(self.dtype)).latent_dist.sample() * self.vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, self.noise_scheduler.config.num_train_timesteps, (len(latents),))
        noisy = self.noise_scheduler.add_noise(latents, noise, timesteps)
        samples = len(pixels) // (2 if options.with_prior_preservation else 1)
        with self.precision() if options.train_text_encoder else nullcontext():
            embeddings = self.prompts.embeddings(samples)
        if options.train_text_encoder:
            embeddings = embeddings.float()
        with self.precision():
            prediction = self.unet(noisy, timesteps, embeddings, return_dict=False)[0]
        target = noise
        if self.noise_scheduler.config.prediction_type == "v_prediction":
            target = self.noise_scheduler.get_velocity(latents, noise, timesteps)
        if not options.with_prior_preservation:
            return mean_square(prediction, target)
        prior = mean_square(prediction[samples:], target[samples:])
        return mean_square(prediction[:samples], target[:samples]) + options.prior_loss_weight * prior

    def update(self):
        clip(self.trained, self.options.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()

    def train(self):
        """The list of {step, loss, lr} that the script logs: one per micro-step, the lr being the NEXT step's."""
        logged, step = [], 0
        for _ in range(self.epochs):
            micro_step = 0
            for pixels, is_last in self.batches:
                micro_step += 1
                loss = self.loss(pixels)
                (loss / self.options.gradient_accumulation_steps).backward()
                # A short last group is stepped all the same, and still divided by the full count.
                if is_last or micro_step % self.options.gradient_accumulation_steps == 0:
                    self.update()
                    step += 1
                logged.append({"step": step, "loss": loss.item(), "lr": self.schedule.get_last_lr()[0]})
                if step >= self.max_steps:
                    return logged
        return logged

    def save(self):
        """Diffusers' final format; only the UNet's factors are brought back to fp32."""
        weights = {}
        for name, value in self.unet.named_parameters():
            if value.requires_grad:
                weights["unet." + name.replace("lora_A.default", "lora.down").replace("lora_B.default", "lora.up")] = value.float()
        for name, value in self.text_encoder.named_parameters():
            if value.requires_grad:
                name = name.replace("lora_A.default", "lora_linear_layer.down").replace("lora_B.default", "lora_linear_layer.up")
                weights["text_encoder." + name] = value
        folder = pathlib.Path(self.options.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        contiguous = {name: value.detach().contiguous() for name, value in weights.items()}
        save_file(contiguous, folder / "pytorch_lora_weights.safetensors", metadata={"format": "pt"})


def main():
    trace_path, *flags = sys.argv[1:]
    trainer = Trainer(parse(flags))
    pathlib.Path(trace_path).write_text(json.dumps(trainer.train()))
    trainer.save()


if __name__ == "__main__":
    main()

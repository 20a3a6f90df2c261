"""What our two reference trainers share: draws, pictures, LoRA, optimizer, schedule and the saved file, without accelerate.

It needs PyPI's torch 2.11.0, torchvision 0.26.0, diffusers 0.42.1, transformers 5.23.0 and peft 0.21.2. What accelerate
does to the numbers (one batch of prefetch, the divided loss, the short last group) is written out here.
"""

import argparse
import math
import pathlib
import random
from contextlib import nullcontext

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from peft import LoraConfig
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torchvision.transforms import functional as image_functions
from torchvision.transforms import InterpolationMode
from training_scenarios import ALGORITHMS, diffusers_spelling
from transformers import CLIPTextModel

UNET_TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]

SHARED_VALUES = {  # flag: (type, default)
    "pretrained_model_name_or_path": (str, None),
    "seed": (int, None),
    "resolution": (int, 512),
    "max_train_steps": (int, None),
    "gradient_accumulation_steps": (int, 1),
    "lr_scheduler": (str, "constant"),
    "lr_warmup_steps": (int, 500),
    "adam_beta1": (float, 0.9),
    "adam_beta2": (float, 0.999),
    "adam_weight_decay": (float, 1e-2),
    "adam_epsilon": (float, 1e-8),
    "max_grad_norm": (float, 1.0),
    "rank": (int, 4),
    "mixed_precision": (str, "no"),
    "image_interpolation_mode": (str, "lanczos"),
    "algo": (str, "lora"),
}
SHARED_SWITCHES = ["center_crop", "gradient_checkpointing", "scale_lr"]


def parse_flags(arguments, values, switches):
    """The flags of one script: the shared ones, then its own `values` and `switches`."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name, (kind, default) in {**SHARED_VALUES, **values}.items():
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--target_modules", nargs="+", default=UNET_TARGETS)
    for name in [*SHARED_SWITCHES, *switches]:
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args(arguments)


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def draw_seed():
    """One int64 from the default generator, as DataLoader and RandomSampler each take one per epoch."""
    return int(torch.empty((), dtype=torch.int64).random_().item())


def open_picture(source):
    """A file's first frame as RGB, turned upright; alpha is dropped, not blended."""
    picture = ImageOps.exif_transpose(Image.open(source))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def resize_and_crop(picture, options):
    """The square of side `resolution`. A random crop draws twice, and not at all when nothing is to be cut."""
    size = options.resolution
    mode = InterpolationMode[options.image_interpolation_mode.upper()]
    picture = image_functions.resize(picture, size, interpolation=mode)
    if options.center_crop:
        return image_functions.center_crop(picture, size)
    if picture.size == (size, size):
        return picture
    width, height = picture.size
    top = torch.randint(0, height - size + 1, (1,)).item()
    left = torch.randint(0, width - size + 1, (1,)).item()
    return image_functions.crop(picture, top, left, size, size)


def to_pixels(picture):
    """[3,h,w] in -1..1."""
    return image_functions.normalize(image_functions.to_tensor(picture), [0.5], [0.5])


def one_epoch(length, batch_size, load):
    """Yields (load(indices), is the last one) in a freshly drawn order of `length` examples."""
    draw_seed()  # the DataLoader's base seed, used by worker processes only
    order = torch.randperm(length, generator=torch.Generator().manual_seed(draw_seed())).tolist()
    groups = [order[start : start + batch_size] for start in range(0, length, batch_size)]
    ready = load(groups[0])
    for following in groups[1:]:
        # The next batch's crops are drawn before this batch is trained on: one batch of prefetch.
        prefetched = load(following)
        yield ready, False
        ready = prefetched
    yield ready, True


def add_lora(model, targets, options, dropout=0.0):
    """PEFT draws A (Kaiming), B (Kaiming), A again (normal, 1/rank) per module, in registration order, in fp32.

    PiSSA draws the first two and then takes singular vectors instead.
    """
    values = {
        "r": options.rank,
        "lora_alpha": options.rank,
        "lora_dropout": dropout,
        "init_lora_weights": "gaussian",
        "target_modules": targets,
        **ALGORITHMS.get(options.algo, {}),
    }
    model.add_adapter(LoraConfig(**values))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def mean_square(prediction, target):
    return torch.nn.functional.mse_loss(prediction.float(), target.float())


def save_lora(weights, output_dir):
    """Diffusers' final file."""
    folder = pathlib.Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: value.detach().contiguous() for name, value in weights.items()}
    save_file(contiguous, folder / "pytorch_lora_weights.safetensors", metadata={"format": "pt"})


def unet_weights(unet):
    """The UNet's factors in Diffusers' spelling, brought to fp32."""
    return {
        diffusers_spelling("unet." + name.replace(".default", "")): value.float()
        for name, value in unet.named_parameters()
        if value.requires_grad
    }


class FrozenModels:
    """The four parts of a model folder that training reads; nothing in them is trained."""

    def __init__(self, options):
        folder = options.pretrained_model_name_or_path
        self.dtype = torch.bfloat16 if options.mixed_precision == "bf16" else torch.float32
        self.noise_scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
        self.text_encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder")
        self.vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
        self.unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
        for module in (self.text_encoder, self.vae, self.unet):
            module.requires_grad_(False)
            module.to(self.dtype)

    def latents(self, pixels):
        """A fresh sample each time, in the models' precision."""
        return self.vae.encode(pixels.to(self.dtype)).latent_dist.sample() * self.vae.config.scaling_factor

    def draw_timesteps(self, count):
        return torch.randint(0, self.noise_scheduler.config.num_train_timesteps, (count,))

    def precision(self):
        """Under bf16 only what is trained runs in autocast; the frozen models run in plain bf16."""
        if self.dtype == torch.bfloat16:
            return torch.autocast("cpu", torch.bfloat16)
        return nullcontext()

    def predict(self, noisy, timesteps, embeddings):
        with self.precision():
            return self.unet(noisy, timesteps, embeddings, return_dict=False)[0]


class Plan:
    """Counts the steps; holds optimizer and learning-rate schedule."""

    def __init__(self, options, trained, batches_per_epoch, **schedule_options):
        steps_per_epoch = math.ceil(batches_per_epoch / options.gradient_accumulation_steps)
        self.max_steps = options.max_train_steps
        if self.max_steps is None:
            self.max_steps = options.num_train_epochs * steps_per_epoch
        self.epochs = math.ceil(self.max_steps / steps_per_epoch)
        rate = options.learning_rate
        if options.scale_lr:
            rate = rate * options.gradient_accumulation_steps * options.train_batch_size
        self.optimizer = torch.optim.AdamW(
            trained,
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
            **schedule_options,
        )

    def update(self):
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()

    def rate(self):
        """The NEXT step's learning rate once `update` is done."""
        return self.schedule.get_last_lr()[0]

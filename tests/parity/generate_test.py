"""`lorikeet generate` beside StableDiffusionPipeline: same seed, prompt and LoRA, 20 steps, fp32."""

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

SCHEDULERS = {
    "pndm": "PNDMScheduler",
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
}
SCALES = [0.0, 0.5, 1.0]
CLOSEST = 2  # of 255


def random_lora(pipeline, path, rank=2):
    """Random factors for all attention projections, in Diffusers' final format."""
    generator = torch.Generator().manual_seed(11)
    weights = {}

    def add(name, module, down, up):
        weights[f"{name}.{down}.weight"] = torch.randn(rank, module.in_features, generator=generator) * module.in_features**-0.5
        weights[f"{name}.{up}.weight"] = torch.randn(module.out_features, rank, generator=generator) * 0.3

    for name, module in pipeline.unet.named_modules():
        if name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0")):
            add(f"unet.{name}", module, "lora.down", "lora.up")
    for name, module in pipeline.text_encoder.named_modules():
        if name.endswith((".q_proj", ".k_proj", ".v_proj", ".out_proj")):
            name = name.removeprefix("text_model.")
            add(f"text_encoder.text_model.{name}", module, "lora_linear_layer.down", "lora_linear_layer.up")
    save_file(weights, path, metadata={"format": "pt"})


class Peer:
    """Diffusers' pipeline of a model folder with the random LoRA loaded."""

    def __init__(self, model, lora):
        self.model, self.lora = model, lora
        self.pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
        self.pipeline.set_progress_bar_config(disable=True)
        self.own_scheduler = self.pipeline.scheduler
        random_lora(self.pipeline, lora)
        self.pipeline.load_lora_weights(lora)

    def draw(self, prompt, scheduler=None, scale=1.0, seed=0, **more):
        self.pipeline.scheduler = self.own_scheduler
        if scheduler:
            self.pipeline.scheduler = getattr(diffusers, SCHEDULERS[scheduler]).from_config(self.own_scheduler.config)
        generator = torch.Generator().manual_seed(seed)
        return self.pipeline(
            prompt, num_inference_steps=20, generator=generator, cross_attention_kwargs={"scale": scale}, **more
        ).images


@pytest.fixture(scope="module")
def peer(base_model, tiny_model, tmp_path_factory):
    made = {}

    def of(kind):
        if kind not in made:
            model = base_model if kind == "base" else tiny_model(kind)
            made[kind] = Peer(model, tmp_path_factory.mktemp(kind) / "lora.safetensors")
        return made[kind]

    torch.set_num_threads(1)
    return of


def draw_ours(lorikeet, peer, output, prompt, scheduler=None, scale=1.0, seed=0, **more):
    flags = [f"--{name}={value}" for name, value in more.items()]
    if scheduler:
        flags.append(f"--scheduler={scheduler}")
    lorikeet("generate", f"--pretrained_model_name_or_path={peer.model}", f"--lora={peer.lora}", f"--scale={scale}",
             f"--prompt={prompt}", f"--seed={seed}", "--num_inference_steps=20", "--device=cpu", f"--output={output}", *flags)
    return np.asarray(Image.open(output).convert("RGB"), int)


def assert_close(ours, theirs):
    theirs = np.asarray(theirs, int)
    assert ours.shape == theirs.shape
    assert theirs.std() > 5, "the peer drew a blank picture, which would prove nothing"
    assert np.abs(ours - theirs).max() <= CLOSEST


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_each_scheduler_and_scale_on_the_embedded_model(scheduler, scale, peer, lorikeet, tmp_path):
    base = peer("base")
    theirs = base.draw("red apple", scheduler, scale, guidance_scale=3.0)[0]
    ours = draw_ours(lorikeet, base, tmp_path / "p.png", "red apple", scheduler, scale, guidance_scale=3.0)
    assert_close(ours, theirs)


@pytest.mark.full
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_each_scheduler_and_scale_on_tiny_models(kind, scheduler, scale, peer, lorikeet, tmp_path):
    theirs = peer(kind).draw("a green house", scheduler, scale, seed=3)[0]
    ours = draw_ours(lorikeet, peer(kind), tmp_path / "p.png", "a green house", scheduler, scale, seed=3)
    assert_close(ours, theirs)


@pytest.mark.parametrize("kind", ["base", "sd1", "sd2"])
def test_the_models_own_scheduler_and_default_guidance(kind, peer, lorikeet, tmp_path):
    assert_close(draw_ours(lorikeet, peer(kind), tmp_path / "p.png", "cat face"), peer(kind).draw("cat face")[0])


def test_negative_prompt_and_a_wide_picture(peer, lorikeet, tmp_path):
    wanted = {"negative_prompt": "blue car", "width": 104, "height": 72, "guidance_scale": 4.0}
    ours = draw_ours(lorikeet, peer("base"), tmp_path / "p.png", "red apple, a tree", "dpmsolver++", 0.5, seed=5, **wanted)
    assert_close(ours, peer("base").draw("red apple, a tree", "dpmsolver++", 0.5, seed=5, **wanted)[0])


def test_without_guidance_the_negative_prompt_is_not_used(peer, lorikeet, tmp_path):
    wanted = {"negative_prompt": "blue car", "guidance_scale": 1.0}
    ours = draw_ours(lorikeet, peer("base"), tmp_path / "p.png", "red apple", "ddim", **wanted)
    assert_close(ours, peer("base").draw("red apple", "ddim", **wanted)[0])

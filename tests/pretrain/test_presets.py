"""Every preset, made small, learns within seconds: it tells images apart that it saw in noisy views only."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import yaml
from tests.conftest import ROOT
from tests.pretrain.two_workers import learner_for
from torch import nn

from orthoray.config import load_config, parse_config
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.learner import MEASURES, step_values
from orthoray.pretrain.masks import block_masks

PRESETS = ("dino", "dinov2", "dinov3", "orthofoundation_release")
IMAGES, STEPS, NOISE = 16, 150, 0.4


@pytest.fixture(scope="module", autouse=True)
def group(tmp_path_factory):
    """A process group of this process alone, and one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    file = tmp_path_factory.mktemp("group") / "init"
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    torch.set_num_threads(threads)


def small(name):
    """The preset's losses, schedules and teacher with a tiny network, crops of 32 px and a high learning rate."""
    values = yaml.safe_load((ROOT / "jobs" / "configs" / f"pretrain_{name}.yaml").read_text())
    head = {"prototypes": 64, "hidden_dim": 64, "bottleneck_dim": 16}
    values["model"] |= {"weights": None, "img_size": 32, "patch_size": 8, "drop_path": 0.0}
    values["model"] |= {"freeze_backbone_steps": 4, "ramp_backbone_steps": 8}
    values["model"]["kwargs"] = {"embed_dim": 64, "depth": 2, "num_heads": 2, "init_values": 1.0}
    centred = values["teacher"].get("centring", "centre") == "centre"
    values["head"] = head | {"batch_norm": centred}  # a centre alone does not hold so small a batch
    if values.get("losses", {}).get("ibot", {}).get("head", "shared") != "shared":
        values["losses"]["ibot"]["head"] = head
    values["crops"] |= {"global_size": 32, "local_size": 16, "n_local": 2}
    values["optimiser"] |= {"lr": 2e-3}
    values["teacher"]["momentum"] = [0.95, 1.0]
    return parse_config(PretrainConfig, values | {"batch_size": IMAGES, "steps": STEPS}, name)


@pytest.mark.parametrize("name", PRESETS)
def test_the_preset_is_valid_as_it_stands(name):
    config = load_config(PretrainConfig, ROOT / "jobs" / "configs" / f"pretrain_{name}.yaml")
    assert config.crops.local_size % (14 if "14" in config.model.backbone else 16) == 0
    assert config.model.weights is not None


def retrieval(backbone, patterns, seed):
    """Share of noisy views whose nearest neighbour among other noisy views is of the same image."""
    random = torch.Generator().manual_seed(seed)
    views = [patterns + NOISE * torch.randn(patterns.shape, generator=random) for _ in range(8)]
    with torch.no_grad():
        tokens = nn.functional.normalize(backbone.eval().forward_features(torch.cat(views))[:, 0], dim=-1)
    backbone.train()
    alike = tokens @ tokens.t()
    alike.fill_diagonal_(-2.0)
    image = torch.arange(IMAGES).repeat(len(views))
    return float((image[alike.argmax(dim=1)] == image).float().mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_the_preset_learns(name):
    config = small(name)
    learner = learner_for(config)
    random = torch.Generator().manual_seed(0)
    coarse = torch.randn(IMAGES, 1, 4, 4, generator=random)
    patterns = nn.functional.interpolate(coarse, size=32, mode="bilinear")

    def noisy(images):
        return images + NOISE * torch.randn(images.shape, generator=random)

    before = retrieval(learner.teacher.backbone, patterns, 1)
    rows = []
    masked = config.losses.ibot.weight > 0.0
    for step in range(STEPS):
        views, details = noisy(torch.cat([patterns] * 2)), noisy(torch.cat([patterns[..., 8:24, 8:24]] * 2))
        masks = block_masks(2 * IMAGES, (4, 4), 0.5, (0.1, 0.5), np.random.default_rng(step)) if masked else None
        rows.append(learner.step(views, details, step_values(config, 2e-3, step, STEPS), masks))
    after = retrieval(learner.teacher.backbone, patterns, 1)
    means = (torch.stack(part).mean(dim=0).tolist() for part in (rows[:8], rows[-8:]))
    start, end = (dict(zip(MEASURES, mean, strict=True)) for mean in means)
    assert after > before + 0.15
    assert end["student_teacher_kl"] < 0.5 * start["student_teacher_kl"]

"""Pretraining against a straight reconstruction of the loop that OrthoFoundation released.

Written from what that code does, not from its text: colour crops by PIL and torchvision, fp32 throughout, every crop of
a size in one pass, one head of 65,536 prototypes with weight norm, all scores at once, a cross-entropy for each pair of
views, an exponential mean parameter by parameter, plain AdamW, PyTorch's DataLoader. Same backbone, films, crop sizes,
head and batch on our side, as `orthoray pretrain` trains.

    python benchmarks/paper_loop.py [BACKBONE …]
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import common
from augmentation import classic_views
from orthoray.models.timm_import import import_timm
from orthoray.pretrain.config import HeadConfig
from training import make_dataset, ray_rate

ROUNDS, STEPS, SKIP = 3, 10, 3
LEAST = 3.0
PROTOTYPES, HIDDEN, BOTTLENECK = 65536, 2048, 256
LOADERS = (0, 1)
"""Numbers of loader processes that are tried; the faster one counts."""


class Films(Dataset[list[torch.Tensor]]):
    """Ten crops of a PNG file, three channels each."""

    def __init__(self, folder: str) -> None:
        self.files = sorted(Path(folder).glob("*.png"))
        self.views = classic_views()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> list[torch.Tensor]:
        film = Image.open(self.files[number]).convert("RGB")
        return [view(film) for view in self.views]


class Network(nn.Module):
    """Backbone and head; a list of crops gives the scores of all, crop after crop."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone = import_timm().create_model(name, num_classes=0, dynamic_img_size=True)
        width = self.backbone.num_features
        layers = [nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU()]
        self.head = nn.Sequential(*layers, nn.Linear(HIDDEN, BOTTLENECK))
        self.last: Any = nn.utils.weight_norm(nn.Linear(BOTTLENECK, PROTOTYPES, bias=False))
        self.last.weight_g.data.fill_(1.0)
        self.last.weight_g.requires_grad = False

    def forward(self, crops: list[torch.Tensor]) -> torch.Tensor:
        """(crops · B, `PROTOTYPES`)."""
        sizes = sorted({crop.shape[-1] for crop in crops}, reverse=True)
        groups = [torch.cat([crop for crop in crops if crop.shape[-1] == size]) for size in sizes]
        tokens = torch.cat([self.backbone.forward_features(group)[:, 0] for group in groups])
        scores: torch.Tensor = self.last(functional.normalize(self.head(tokens), dim=-1))
        return scores


def loss_of(teacher: torch.Tensor, student: torch.Tensor, centre: torch.Tensor, views: int) -> torch.Tensor:
    """Mean cross-entropy of all pairs of different views."""
    targets = functional.softmax((teacher - centre) / 0.04, dim=-1).chunk(2)
    parts = (student / 0.1).chunk(views)
    pairs = [(target, part) for at, target in enumerate(targets) for to, part in enumerate(parts) if to != at]
    terms = [torch.sum(-target * functional.log_softmax(part, dim=-1), dim=-1).mean() for target, part in pairs]
    return torch.stack(terms).mean()


def their_rate(folder: str, name: str, loaders: int) -> float:
    """Images per second after `SKIP` steps."""
    torch.manual_seed(0)
    student, teacher = Network(name), Network(name)
    teacher.requires_grad_(False)
    optimiser = torch.optim.AdamW((p for p in student.parameters() if p.requires_grad), lr=1e-5, weight_decay=0.01)
    centre, begin, step = torch.zeros(1, PROTOTYPES), 0.0, 0
    while True:
        loader = DataLoader(Films(folder), common.BATCH, shuffle=True, num_workers=loaders, drop_last=True)
        for crops in loader:
            if step == SKIP:
                begin = time.perf_counter()
            if step == STEPS:
                return (STEPS - SKIP) * common.BATCH / (time.perf_counter() - begin)
            answer, scores = teacher(crops[:2]), student(crops)
            for mine, other in zip(teacher.parameters(), student.parameters(), strict=True):
                mine.data = mine.data * 0.996 + other.data * 0.004
            loss = loss_of(answer, scores, centre, len(crops))
            centre = centre * 0.9 + answer.mean(0, keepdim=True) * 0.1
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1


def main() -> None:
    """Alternate both for every backbone, each in a process of its own."""
    if len(sys.argv) == 5 and sys.argv[1] == "theirs":
        print("rate", their_rate(sys.argv[2], sys.argv[3], int(sys.argv[4])))
        return
    met = True
    for name in sys.argv[1:] or ["vit_tiny_patch16_224", "vit_small_patch16_224"]:
        rates: dict[str, list[float]] = {"ours": [], "theirs": []}
        with common.scratch() as folder:
            make_dataset(folder, common.films(96))
            for number in range(ROUNDS):
                head = HeadConfig(prototypes=PROTOTYPES, hidden_dim=HIDDEN, bottleneck_dim=BOTTLENECK)
                rates["ours"].append(ray_rate(folder, number, name, head))
                rates["theirs"].append(max(in_own_process(folder, name, loaders) for loaders in LOADERS))
                last = {kind: round(values[-1], 2) for kind, values in rates.items()}
                print(f"  {name} round {number + 1}: {last} img/s", flush=True)
        met &= common.ratio(f"{name} over the released loop", rates["ours"], rates["theirs"], LEAST, "img/s")
    sys.exit(not met)


def in_own_process(folder: str, name: str, loaders: int) -> float:
    """`their_rate` in a fresh interpreter."""
    command = [sys.executable, __file__, "theirs", f"{folder}/films", name, str(loaders)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the reconstruction failed:\n{done.stdout}{done.stderr}")
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()

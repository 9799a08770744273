"""What the backbone learns with lightly-train's ``method="dino"``, beside a run of `pretrain_knee_xray_kl_long`.

Same images, network, crop sizes and scales, head, batch and number of images; optimiser, schedules and augmentation are
lightly-train's own (AdamW; its default for DINO, SGD, is not meant for a ViT, and ``sgd`` at the end takes it).
Every tenth of the run the teacher's backbone is kept, and judged with the online probe of `orthoray pretrain`; the last
one is a checkpoint for `orthoray study`.

    python benchmarks/lightly_kl.py ENVIRONMENT DATASET OUT [STEPS] [SEED] [sgd]
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from lightly import PRELUDE, prepared
from orthoray.config import load_config
from orthoray.features.candidate_settings import Candidate
from orthoray.features.candidates import prepare
from orthoray.pretrain.config import PretrainConfig
from orthoray.pretrain.probes import plan_probes, probe_checkpoint
from orthoray.pretrain.settings.probes import ProbesConfig

PRESET = Path(__file__).parents[1] / "jobs" / "configs" / "pretrain_knee_xray_kl_long.yaml"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

THEIRS = (
    PRELUDE
    + """
import json
from safetensors.torch import save_file
given = json.loads(sys.argv[1])

class Keep(Callback):
    def on_train_start(self, trainer, module):
        self.begin = time.perf_counter()
        self.keep(0, module)
    def on_train_batch_end(self, trainer, module, *rest):
        if trainer.global_step % given["every"] == 0:
            self.keep(trainer.global_step, module)
    def keep(self, step, module):
        state = module.teacher_embedding_model.wrapped_model.get_model().state_dict()
        name = f"{given['kept']}/{step:06d}-{time.perf_counter() - self.begin:.0f}.safetensors"
        save_file({key: value.contiguous() for key, value in state.items()}, name)

with_callback(Keep())
lightly_train.pretrain(**given["call"], overwrite=True, accelerator="cpu", devices=1, loggers={"tensorboard": None})
"""
)


def call(config: PretrainConfig, films: Path, out: Path, steps: int, seed: int, optimiser: str) -> dict[str, object]:
    """The arguments of ``lightly_train.pretrain`` that correspond to a configuration."""
    crops, head = config.crops, config.head
    (low, high), (least, most) = crops.global_scale, crops.local_scale
    views = {"num_views": crops.n_local, "view_size": [crops.local_size] * 2}
    return {
        "out": str(out / "lightly"),
        "data": str(films),
        "model": f"timm/{config.model.backbone}",
        "model_args": {"img_size": config.model.img_size},
        "method": "dino",
        "method_args": {
            "hidden_dim": head.hidden_dim,
            "bottleneck_dim": head.bottleneck_dim,
            "output_dim": head.prototypes,
            "batch_norm": head.batch_norm,
        },
        "optim": optimiser,
        "batch_size": config.batch_size,
        "precision": "bf16-mixed",
        "seed": seed,
        "num_workers": 0,
        "transform_args": {
            "image_size": [crops.global_size] * 2,
            "random_resize": {"min_scale": low, "max_scale": high},
            "local_view": {**views, "random_resize": {"min_scale": least, "max_scale": most}},
        },
        "trainer_args": {"max_steps": steps, "max_epochs": -1},
        "epochs": 1000,
    }


def write_films(dataset: str, folder: Path) -> None:
    """The images of a dataset as the PNG files that they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in sorted(Path(dataset, "images").rglob("*.parquet")):
        for row in pq.read_table(shard, columns=["image_id", "pixels"]).to_pylist():
            (folder / f"{row['image_id']}.png").write_bytes(row["pixels"])


def main() -> None:
    """Train, then one row per kept backbone: steps, images, seconds of training, probe."""
    environment, dataset, folder = sys.argv[1:4]
    out, optimiser = Path(folder), "sgd" if "sgd" in sys.argv else "adamw"
    numbers = [int(word) for word in sys.argv[4:] if word.isdigit()]
    config = load_config(PretrainConfig, PRESET)
    steps, seed = [*numbers, *[config.steps, 0][len(numbers) :]]
    kept = out / "kept"
    kept.mkdir(parents=True)
    write_films(dataset, out / "films")
    given = {"every": max(1, steps // 10), "kept": str(kept)}
    given["call"] = call(config, out / "films", out, steps, seed, optimiser)
    subprocess.run([prepared(Path(environment)), "-c", THEIRS, json.dumps(given)], check=True)
    job = plan_probes(ProbesConfig(every_steps=1, datasets=[dataset], pooling="cls+mean"))
    with (out / "probes.jsonl").open("w") as rows:
        for file in sorted(kept.glob("*.safetensors")):
            step, seconds = map(int, file.stem.split("-"))
            source = {"img_size": config.model.img_size, "mean": MEAN, "std": STD}
            candidate = Candidate(name=f"lightly-{step}", backbone=config.model.backbone, weights=str(file), **source)
            made = prepare(candidate, str(out / f"checkpoint-{step:06d}"), random=False)
            for row in probe_checkpoint(made.checkpoint, job, threads=2):
                images = step * config.batch_size
                found = {"step": step, "images": images, "seconds": seconds, **row}
                rows.write(json.dumps(found) + "\n")
                print(f"  {images:,} images, {seconds} s: {row['protocol']} {row['value']:.3f}", flush=True)


if __name__ == "__main__":
    main()

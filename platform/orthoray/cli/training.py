"""Commands of backbones: plan, pretrain, export."""

from __future__ import annotations

from typing import Any

import click

from orthoray.cli.group import config_options, settings_of


@click.command()
@config_options
@click.option("--gpu", default=None, help="One kind of GPU (H100, A100 …) instead of all known ones.")
@click.option("--gpus", type=int, default=None, help="How many share the batch [default: resources.workers, or 1].")
@click.option("--mfu", default=0.4, show_default=True, help="Share of the peak that training is assumed to reach.")
@click.option("--price-gpu-hour", type=float, default=None, help="Price of one GPU for an hour.")
@click.option("--cores", type=float, default=None, help="Processor cores that cut crops, all together.")
@click.option("--images-per-core", type=float, default=None, help="Images per second [default: measured here].")
@click.option("--images", type=int, default=None, help="Number of images, if the datasets are not at hand.")
@click.option("--image-kb", type=float, default=None, help="Stored size of an image, likewise.")
@click.option("--read-mb", type=float, default=None, help="MB per second that storage or network give.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def plan(
    config: str | None, overrides: tuple[str, ...], keys: bool, as_json: bool, gpus: int | None, **wishes: Any
) -> None:
    """Tell what a pretraining run or a ranking would cost and need, before it costs it.

    Arithmetic, memory, speed, hours and money, and settings that will work against the run. Needs no GPU;
    what is not at hand is assumed, and said.

    CONFIG is what `orthoray pretrain` or `orthoray rank` takes.

    \b
    Example:
      orthoray plan pretrain_knee_xray_kl --gpu H100 --gpus 8 --price-gpu-hour 2.5
    """
    from orthoray.config import parse_config
    from orthoray.pretrain.config import PretrainConfig
    from orthoray.transferability.config import RankConfig

    ranking = not keys and config is not None and "=" not in config and _is_ranking(config)
    settings = settings_of(RankConfig if ranking else PretrainConfig, config, overrides, keys)
    if settings is None:
        return
    from orthoray.pretrain.estimate_devices import Wishes

    wish = parse_config(Wishes, {**wishes, "gpus": "auto" if gpus is None else gpus}, "orthoray plan")
    if ranking:
        from orthoray.transferability.plan import plan_ranking

        plan_ranking(settings, wish.gpu, gpus or 1, wish.mfu, wish.price_gpu_hour, wish.images, as_json)
        return
    from orthoray.pretrain.estimate import estimate
    from orthoray.pretrain.estimate_text import show

    show(estimate(settings, wish), as_json)


def _is_ranking(config: str) -> bool:
    """Is a file or preset the configuration of `orthoray rank`?"""
    from orthoray.config import find_preset, read_yaml

    return "candidates" in read_yaml(find_preset(config))


@click.command()
@config_options
def pretrain(config: str | None, overrides: tuple[str, ...], keys: bool) -> None:
    """Pretrain a backbone with DINO on datasets.

    The same command again resumes a run that was interrupted.

    CONFIG is a YAML file or the name of a preset in jobs/configs. Any key can be changed behind it.

    \b
    Example:
      orthoray pretrain pretrain_knee_xray_kl out=runs/knee/pretrain seed=1
    """
    from orthoray.pretrain.config import PretrainConfig

    settings = settings_of(PretrainConfig, config, overrides, keys)
    if settings is not None:
        from orthoray.pretrain.run import pretrain as run

        run(settings)


@click.command()
@click.argument("checkpoint")
@click.option("--format", "kind", required=True, metavar="timm|hf|onnx", help="The library that is to load the copy.")
@click.option("--out", required=True, help="Folder or URI to write.")
@click.option("--results", default=None, metavar="STUDY", help="Study whose gains the model card shows.")
@click.option("--size", type=int, default=None, help="Side of the images of an ONNX graph [default: the checkpoint's].")
@click.option("--overwrite", is_flag=True, help="Replace what is at OUT.")
def export(checkpoint: str, kind: str, out: str, results: str | None, size: int | None, overwrite: bool) -> None:
    """Copy a checkpoint for timm, transformers or ONNX.

    CHECKPOINT is the folder `checkpoint` of a pretraining run. The copy is read back with the other
    library and must compute the same features; a model card lies beside it (docs/export.md).

    \b
    Example:
      orthoray export runs/knee/pretrain/checkpoint --format timm --out runs/knee/timm
    """
    from orthoray.models.export import export_checkpoint as run
    from orthoray.progress import outputs, say

    gains = None
    if results is not None:
        from orthoray.features.encoders import checkpoint_spec
        from orthoray.models.export_gains import read_gains

        gains = read_gains(results, checkpoint_spec(checkpoint).content)
    proof = run(checkpoint, kind, out, size=size, gains=gains, overwrite=overwrite)
    say(f"  read back with {proof.by}: features differ by {proof.difference:.1e} ({proof.tolerance:.0e} allowed)")
    for note in proof.notes:
        say(f"  {note}")
    outputs({"copy": out, "model card": f"{out.rstrip('/')}/README.md"})

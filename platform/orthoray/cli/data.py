"""Commands of the data: ingest, explain, outliers, audit."""

from __future__ import annotations

from typing import Any

import click

from orthoray.cli.group import config_options, settings_of
from orthoray.errors import InputError


def _card_keys(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print every key of a dataset card and stop, if ``wanted``."""
    if not wanted:
        return
    from orthoray.config import describe_keys
    from orthoray.data.card_tables import FactColumn, FactsTable, LabelTable
    from orthoray.data.cards import DatasetCard
    from orthoray.data.sources.options import Finding

    click.echo(describe_keys(DatasetCard))
    for title, model in (
        ("Each entry of facts", FactsTable),
        ("Each of key, and of columns of facts (a column's name alone does too)", FactColumn),
        ("Each entry of labels", LabelTable),
        ("Each of adapter.findings (hospital)", Finding),
    ):
        click.echo(f"\n{title}:\n{describe_keys(model)}")
    context.exit()


@click.command()
@config_options
@click.option("--out", required=True, help="Local folder for the DICOM files and the table of labels.")
def phantom(config: str | None, overrides: tuple[str, ...], keys: bool, out: str) -> None:
    """Make a synthetic cohort as DICOM.

    Films and MRI of people who never were, with 17 tasks whose signs are drawn: their strength, the noise, and
    how much a site's look goes with disease are settings. `orthoray ingest phantom` reads it.

    \b
    Example:
      orthoray phantom phantom17_cohort --out runs/phantom17/phantom
    """
    from pathlib import Path

    from orthoray.data.phantom import PhantomConfig, make_cohort
    from orthoray.progress import outputs

    settings = settings_of(PhantomConfig, config, overrides, keys)
    if settings is not None:
        make_cohort(Path(out), settings)
        outputs({"cohort": out}, next_step=f"orthoray ingest phantom --source {out} --out DATASET")


@click.command()
@click.argument("card")
@click.option("--source", required=True, help="Folder or URI that holds the DICOM or image files.")
@click.option("--out", required=True, help="Folder or URI of the dataset to write.")
@click.option("--overwrite", is_flag=True, help="Replace a dataset that is already at OUT.")
@click.option("--limit", type=int, default=None, help="Read only the first N files (to try a card).")
@click.option("--dry-run", is_flag=True, help="Read headers and tables, tell what would happen, write nothing.")
@click.option(
    "--keys",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_card_keys,
    help="List every key of a card with its type and default, then stop.",
)
def ingest(card: str, source: str, out: str, overwrite: bool, limit: int | None, dry_run: bool) -> None:
    """Turn DICOM or images into a de-identified dataset.

    CARD is the name of a card (`knee_xray_kl`) or the path of a YAML file. Every file read is either an
    image of the dataset or a row of excluded.parquet with its reason.

    The same command again goes on with an interrupted run; once the dataset is there, it reads only files
    that are new or have changed, and makes again what a changed card touches.

    \b
    Example (your own images: docs/sources.md):
      orthoray ingest my_card.yaml --source /data/export --out runs/mine/dataset --dry-run
      orthoray ingest knee_xray_kl --source ../shared/data/knee-xray-kl --out runs/knee/dataset
    """
    from orthoray.data.cards import load_card
    from orthoray.data.ingest import ingest as run

    run(load_card(card), source, out, overwrite=overwrite, limit=limit, dry_run=dry_run)


@click.command()
@click.argument("dataset")
@click.argument("image_id")
@click.option("--source", default=None, help="The source's folder: name the image's file (needs the pseudonym key).")
def explain(dataset: str, image_id: str, source: str | None) -> None:
    """Tell where one image of a dataset comes from.

    DATASET is the folder that `orthoray ingest` wrote, IMAGE_ID an id of index.parquet,
    review.parquet or excluded.parquet.

    \b
    Example:
      orthoray explain runs/mine/dataset i0123456789abcdef0123 --source /data/export
    """
    from orthoray.data.explain import explain as run

    for line in run(dataset, image_id, source):
        click.echo(line)


@click.command()
@click.argument("dataset")
@click.option("--backbone", required=True, metavar="CHECKPOINT", help="Folder `checkpoint` of a pretraining run.")
def outliers(dataset: str, backbone: str) -> None:
    """Find images unlike those that people accepted.

    Needs the answers of an audit; the next ingest lists what is found for review.

    \b
    Example:
      orthoray outliers runs/knee/dataset --backbone runs/knee/pretrain/checkpoint
    """
    from orthoray.evaluation.outliers import find_outliers

    find_outliers(dataset, backbone)


@click.command()
@click.argument("dataset")
@click.argument("exports", nargs=-1, metavar="[EXPORT]...")
@click.option("--out", default="sheet.html", show_default=True, help="File of the review sheet.")
@click.option("--only", type=click.Choice(["sample", "review"]), help="review: images that ingest listed for review.")
@click.option("--n", type=int, help="Accepted images to look at [default: 300; with --only review all].")
@click.option("--rejected", default=60, show_default=True, help="Rejected images to look at.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@click.option("--double-read", default=0.15, show_default=True, help="Share of the pictures that two people read.")
@click.option("--blind", is_flag=True, help="Leave out of the sheet what ingest decided, and why.")
@click.option("--tolerance", default=0.01, show_default=True, help="Share of defects that is good enough (--import).")
@click.option("--import", "imported", multiple=True, metavar="EXPORT", help="Read what a sheet exported, instead.")
def audit(
    dataset: str, exports: tuple[str, ...], imported: tuple[str, ...], out: str, tolerance: float, **sample: Any
) -> None:
    """Write a review sheet for people, or import their decisions.

    The sheet is one HTML file without network. Its export goes back in with --import, which writes
    audit.json into DATASET: the share of defects, the agreement of readers, and whether to read on.

    \b
    Example:
      orthoray audit runs/knee/dataset --out sheet.html
      orthoray audit runs/knee/dataset --only review --out doubts.html
      orthoray audit runs/knee/dataset --import audit-ab.json audit-cd.json
    """
    from orthoray.config import parse_config
    from orthoray.data.audit import Parameters, import_decisions, write_sheet

    if exports and not imported:
        raise InputError(f"'{exports[0]}': what a sheet exported is given with --import.")
    if imported:
        import_decisions(dataset, [*imported, *exports], tolerance)
    else:
        given = {name: value for name, value in sample.items() if value is not None}
        write_sheet(dataset, out, parse_config(Parameters, given, "orthoray audit"))

"""`orthoray rank`: from candidates and labelled datasets to a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.config import to_yaml
from orthoray.data.dataset import Dataset
from orthoray.errors import InputError, RunError
from orthoray.features.encoders import EncoderSpec, checkpoint_spec
from orthoray.features.store import extract_all
from orthoray.progress import Progress, heading, outputs, say
from orthoray.tracking import Tracker
from orthoray.transferability.candidates import RANDOM, Ready, missing_weights, prepare
from orthoray.transferability.cells import CellJob, cell_name, read_cells, run_cell
from orthoray.transferability.config import Candidate, Estimator, RankConfig, candidates_of
from orthoray.transferability.leaderboard import Cells, Leaderboard, leaderboard, records
from orthoray.transferability.references import held_against, study_results
from orthoray.transferability.targets import Labelled, labelled

MOST_GENERIC = 2000
"""Images of PED's generic corpus; of a larger one so many, spread evenly over its ids in order."""


@dataclass(frozen=True)
class Generic:
    """PED's generic images, the same for every backbone: (dataset, its id, image ids), and where they come from."""

    parts: list[tuple[str, str, list[str]]]
    origin: str


def run_rank(config: RankConfig) -> str:
    """Rank backbones and return the URI of the run's folder.

    The folder gets ``config.yaml``, ``candidates/`` (a checkpoint folder of each), ``features/`` (unless
    ``features.store`` says otherwise), ``cells/`` (one file per backbone and target, which is not computed again),
    ``leaderboard.parquet`` and beside it ``ranking``, ``agreement``, ``stability``, ``draws`` and ``references``, and
    ``rank.json``.

    Raises:
        InputError: anything wrong with configuration or data, weights that are not at hand; nothing was written.
        RunError: a cell failed; finished ones are kept.
    """
    out = storage.absolute(config.out)
    candidates = candidates_of(config)
    targets = [labelled(target, config.max_samples, config.seed) for target in config.targets]
    _require_names(targets)
    generic = _generic(config, targets)
    truth = study_results(config.results)
    random = _random(candidates, config.allow_random)
    _announce(config, candidates, targets, generic, random)
    storage.makedirs(out)
    storage.write_bytes(storage.join(out, "config.yaml"), to_yaml(config).encode())
    with Tracker(out, "rank", config.model_dump(mode="json")) as tracker:
        ready = _prepare(candidates, out, random)
        jobs = _jobs(config, out, ready, targets, generic)
        _run([job for job in jobs.values() if not storage.exists(job.uri)], config.cpus, len(jobs))
        cells: Cells = dict(zip(jobs, read_cells([job.uri for job in jobs.values()]), strict=True))
        board = leaderboard(ready, targets, cells, config.columns())
        references = held_against(board.scores, *truth, config.columns())
        _write(out, board, references)
        storage.write_json(storage.join(out, "rank.json"), _facts(config, ready, targets, generic, tracker.run_id))
        tracker.log(_tracked(board), step=0)
    _tell(config, out, board, references)
    return out


def _require_names(targets: Sequence[Labelled]) -> None:
    names = [target.name for target in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"targets: task {', '.join(twice)} of two datasets; rank them in two runs.")


def _generic(config: RankConfig, targets: Sequence[Labelled]) -> Generic:
    wanted = [target.dataset for target in targets] if config.generic == "auto" else [config.generic]
    datasets = {uri: Dataset(uri) for uri in dict.fromkeys(wanted)}
    ids = [(uri, image) for uri, found in datasets.items() for image in sorted(found.index()["image_id"].astype(str))]
    if not ids:
        raise InputError(f"generic={config.generic}: no image in it.")
    chosen = [
        ids[at] for at in np.unique(np.linspace(0, len(ids) - 1, min(MOST_GENERIC, len(ids))).round().astype(int))
    ]
    parts = []
    for uri, dataset in datasets.items():
        mine = [image for where, image in chosen if where == uri]
        parts.append((uri, str(dataset.manifest["dataset_id"]), mine))
    return Generic(parts, "images of all targets" if config.generic == "auto" else config.generic)


def _random(candidates: Sequence[Candidate], allowed: bool) -> set[str]:
    """Names of the candidates that run with random weights."""
    found = set()
    lines = []
    for place, candidate in enumerate(candidates):
        lacking = missing_weights([candidate])
        if lacking:
            lines += [line.replace("candidates[0]", f"candidates[{place}]") for line in lacking]
            found.add(candidate.name)
    checkpoints = sorted(c.name for c in candidates if c.name in found and c.checkpoint)
    if lines and (not allowed or checkpoints):
        raise InputError(
            f"weights of {len(lines)} of {len(candidates)} candidates are not at hand:\n    "
            + "\n    ".join(lines)
            + "\n  Or leave these candidates out, or give --allow-random (allow_random=true) to run architectures with "
            f"random weights, marked '{RANDOM}' in every output."
        )
    return found


def _prepare(candidates: Sequence[Candidate], out: str, random: set[str]) -> list[Ready]:
    """Checkpoint folders of all candidates; each is made in a Ray task, as networks of gigabytes are."""
    import ray

    from orthoray.cluster.session import connect

    connect()
    make = ray.remote(num_cpus=1, max_retries=1)(prepare)
    with Progress(len(candidates), "candidates", "backbones") as bar:
        pending: dict[Any, int] = {}
        found: list[Ready | None] = [None] * len(candidates)
        for place, candidate in enumerate(candidates):
            by = RANDOM.replace(" ", "-") if candidate.name in random else "weights"
            folder = storage.join(out, "candidates", f"{candidate.name}-{by}")
            pending[make.remote(candidate, folder, candidate.name in random)] = place
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1)
            found[pending.pop(done[0])] = _got(done[0])
            bar.advance(1)
    return [one for one in found if one is not None]


def _jobs(
    config: RankConfig, out: str, ready: Sequence[Ready], targets: Sequence[Labelled], generic: Generic
) -> dict[tuple[str, str], CellJob]:
    """Features of every backbone for every dataset, once, and the cell that each (backbone, target) makes of them."""
    wish = config.features
    store = storage.join(out, "features") if wish.store == "auto" else wish.store
    specs = [checkpoint_spec(one.checkpoint, wish.pooling, wish.resolution, wish.precision) for one in ready]
    needed = dict.fromkeys([*(target.dataset for target in targets), *(uri for uri, _, _ in generic.parts)])
    folders: dict[str, list[str]] = {}
    for uri in needed:
        folders[uri] = extract_all(specs, uri, store, batch_size=wish.batch_size)
    jobs = {}
    for place, (one, spec) in enumerate(zip(ready, specs, strict=True)):
        for target in targets:
            facts = _cell_facts(config, spec, target, generic)
            uri = storage.join(out, "cells", target.name, cell_name(one.candidate.name, facts, target))
            jobs[(one.label, target.name)] = CellJob(
                target=target,
                folder=folders[target.dataset][place],
                generic=[(folders[where][place], ids) for where, _, ids in generic.parts if ids],
                columns=config.columns(),
                subsets=config.subsets,
                share=config.subset_share,
                bootstraps=config.bootstraps,
                seed=config.seed,
                uri=uri,
            )
    return jobs


def _cell_facts(config: RankConfig, spec: EncoderSpec, target: Labelled, generic: Generic) -> dict[str, Any]:
    """What a cell's numbers depend on, beside the target's samples."""
    columns: list[Estimator] = config.columns()
    return {
        "features": spec.key(target.dataset_id, None),
        "generic": [[dataset_id, ids] for _, dataset_id, ids in generic.parts] if _uses_ped(columns) else [],
        "columns": columns,
        "draws": [config.subsets, config.subset_share, config.bootstraps],
        "seed": config.seed,
    }


def _uses_ped(columns: Sequence[str]) -> bool:
    return any(name.startswith("ped_") for name in columns)


def _run(todo: Sequence[CellJob], cpus: float, total: int) -> None:
    """Fan the cells out, each a Ray task; RunError names the first that failed, after all others have ended."""
    import ray

    say(f"  {total} cells, {total - len(todo)} of them done before")
    if not todo:
        return
    work = ray.remote(num_cpus=cpus, max_retries=2)(run_cell)
    failures = []
    with Progress(len(todo), "scores", "cells") as bar:
        pending = {work.remote(job): job for job in todo}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1)
            job = pending.pop(done[0])
            try:
                _got(done[0])
            except RunError as error:
                failures.append(f"{job.target.name}, {job.folder}: {error}")
            bar.advance(1)
    if failures:
        raise RunError(
            f"{len(failures)} of {len(todo)} cells failed; the first: {failures[0]}. Finished cells are kept: give the "
            "same command again."
        )


def _got(reference: Any) -> Any:
    """A task's result; its own input errors as they are, all else as a RunError."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, InputError):
            raise InputError(str(cause)) from None
        raise RunError(f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0]}") from None
    except ray.exceptions.RayError as error:
        raise RunError((str(error).splitlines() or [type(error).__name__])[0]) from None


def _write(out: str, board: Leaderboard, references: pd.DataFrame) -> None:
    tables = {
        "leaderboard": board.scores,
        "ranking": board.ranking,
        "agreement": board.agreement,
        "stability": board.stability,
        "draws": board.draws,
        "references": references,
    }
    for name, table in tables.items():
        storage.write_table(pa.Table.from_pandas(table, preserve_index=False), storage.join(out, f"{name}.parquet"))


def _facts(
    config: RankConfig, ready: Sequence[Ready], targets: Sequence[Labelled], generic: Generic, run_id: str
) -> dict[str, Any]:
    return {
        "name": config.name,
        "primary": config.primary,
        "columns": config.columns(),
        "run_id": run_id,
        "generic": {"origin": generic.origin, "images": sum(len(ids) for _, _, ids in generic.parts)},
        "candidates": [
            {
                "label": one.label,
                "method": one.candidate.method,
                "backbone": one.candidate.backbone or one.candidate.checkpoint,
                "weights": RANDOM if one.random else one.candidate.weights,
                "parameters": one.parameters,
                "gflops": one.gflops,
                "licence": one.licence,
            }
            for one in ready
        ],
        "targets": [
            {
                "name": target.name,
                "dataset": target.dataset,
                "dataset_id": target.dataset_id,
                "samples": len(target.sample),
                "patients": len(set(target.patient)),
                "left_out": target.left_out,
            }
            for target in targets
        ],
        "features": config.features.model_dump(),
        "subsets": config.subsets,
        "bootstraps": config.bootstraps,
    }


def _tracked(board: Leaderboard) -> dict[str, float]:
    named = {f"{r['target']}/{r['candidate']}/{r['estimator']}": r["value"] for r in records(board.scores)}
    named |= {f"mean_rank/{r['candidate']}/{r['estimator']}": r["mean_rank"] for r in records(board.ranking)}
    plain = {"".join(c if c.isalnum() or c in "_-./ " else "-" for c in key): value for key, value in named.items()}
    return {key: float(value) for key, value in plain.items() if value is not None and not pd.isna(value)}


def _announce(
    config: RankConfig,
    candidates: Sequence[Candidate],
    targets: Sequence[Labelled],
    generic: Generic,
    random: set[str],
) -> None:
    say(f"  candidates  {len(candidates)}, {len(random)} of them with random weights")
    for target in targets:
        lost = "".join(f"; {count} {reason}" for reason, count in target.left_out.items() if count)
        size = f"{len(target.sample):,} samples of {len(set(target.patient)):,} patients"
        say(f"  target      {target.name}: {size}, {len(np.unique(target.label))} classes{lost}")
    if _uses_ped(config.columns()):
        say(f"  generic     {sum(len(ids) for _, _, ids in generic.parts):,} images for PED: {generic.origin}")


def _tell(config: RankConfig, out: str, board: Leaderboard, references: pd.DataFrame) -> None:
    heading(f"Ranking by {config.primary}: mean rank over {board.scores['target'].nunique()} target(s)")
    mine = board.ranking[board.ranking["estimator"] == config.primary]
    for place, row in enumerate(records(mine), 1):
        spread = "" if pd.isna(row["robust_low"]) else f"  {row['robust_low']:.1f} … {row['robust_high']:.1f}"
        say(f"  {place:>2}  {row['candidate']:<36} {row['mean_rank']:5.2f}{spread}{'  *' if row['pareto'] else ''}")
    say("  Behind the mean rank: 90 % interval over resampled patients; * no other is better at no greater cost")
    problems = board.scores[board.scores["problem"] != ""]
    for name, part in problems.groupby("estimator"):
        say(f"  {name}: no score in {len(part)} cells; the first: {part['problem'].iloc[0]}")
    if len(references):
        found = references.groupby("ranker")["weighted_tau"].mean().sort_values(ascending=False)
        truth = references["truth"].iloc[0]
        say(f"  Weighted tau with {truth}: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
    outputs({"leaderboard": storage.join(out, "leaderboard.parquet"), "page": storage.join(out, "rank.html")})

"""`orthoray rank`: from candidates and labelled datasets to a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from orthoray import storage
from orthoray.config import to_yaml
from orthoray.errors import InputError
from orthoray.features.candidate_settings import Candidate
from orthoray.features.candidates import RANDOM, Ready, missing_weights
from orthoray.features.encoders import EncoderSpec, checkpoint_spec
from orthoray.features.store import extract_all
from orthoray.tracking import Tracker
from orthoray.transferability.cells import CellJob, cell_name
from orthoray.transferability.config import Estimator, RankConfig, candidates_of, uses_ped
from orthoray.transferability.fanout import prepare_all, run_cells
from orthoray.transferability.generic import Generic, generic_images
from orthoray.transferability.leaderboard import Cells, Leaderboard, leaderboard, records
from orthoray.transferability.references import held_against, study_results
from orthoray.transferability.targets import Labelled, labelled
from orthoray.transferability.telling import announce, facts_of, tell


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
    generic = generic_images(config, targets)
    truth = study_results(config.results)
    random = _random(candidates, config.allow_random)
    announce(config, candidates, targets, generic, random)
    storage.makedirs(out)
    storage.write_bytes(storage.join(out, "config.yaml"), to_yaml(config).encode())
    with Tracker(out, "rank", config.model_dump(mode="json")) as tracker:
        ready = prepare_all(candidates, out, random)
        jobs = _jobs(config, out, ready, targets, generic)
        run_cells([job for job in jobs.values() if not storage.exists(job.uri)], config.cpus, len(jobs))
        cells: Cells = {place: storage.read_json(job.uri) for place, job in jobs.items()}
        board = leaderboard(ready, targets, cells, config.columns())
        references = held_against(board.scores, *truth, config.columns())
        _write(out, board, references)
        storage.write_json(storage.join(out, "rank.json"), facts_of(config, ready, targets, generic, tracker.run_id))
        tracker.log(_tracked(board), step=0)
    tell(config, out, board, references)
    return out


def _require_names(targets: Sequence[Labelled]) -> None:
    names = [target.name for target in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"targets: task {', '.join(twice)} of two datasets; rank them in two runs.")


def _random(candidates: Sequence[Candidate], allowed: bool) -> set[str]:
    """Names of the candidates that run with random weights."""
    lines = missing_weights(candidates)
    checkpoint_gone = any(candidate.name in lines for candidate in candidates if candidate.checkpoint)
    if lines and (not allowed or checkpoint_gone):
        raise InputError(
            f"weights of {len(lines)} of {len(candidates)} candidates are not at hand:\n    "
            + "\n    ".join(f"{name}: {line}" for name, line in lines.items())
            + "\n  Or leave these candidates out, or give --allow-random (allow_random=true) to run architectures with "
            f"random weights, marked '{RANDOM}' in every output."
        )
    return set(lines)


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
        "generic": [[dataset_id, ids] for _, dataset_id, ids in generic.parts] if uses_ped(columns) else [],
        "columns": columns,
        "draws": [config.subsets, config.subset_share, config.bootstraps],
        "seed": config.seed,
    }


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


def _tracked(board: Leaderboard) -> dict[str, float]:
    named = {f"{r['target']}/{r['candidate']}/{r['estimator']}": r["value"] for r in records(board.scores)}
    named |= {f"mean_rank/{r['candidate']}/{r['estimator']}": r["mean_rank"] for r in records(board.ranking)}
    plain = {"".join(c if c.isalnum() or c in "_-./ " else "-" for c in key): value for key, value in named.items()}
    return {key: float(value) for key, value in plain.items() if value is not None and not pd.isna(value)}

"""Documents written with a dataset: Croissant metadata and a datasheet, filled from the manifest."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from orthoray.data.schema import IMAGES

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "sc": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "recordSet": "cr:recordSet",
    "field": "cr:field",
    "fileSet": "cr:fileSet",
    "includes": "cr:includes",
    "source": "cr:source",
    "extract": "cr:extract",
    "column": "cr:column",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
}


def croissant(manifest: dict[str, Any]) -> dict[str, Any]:
    """Croissant 1.0 description (MLCommons) of the shards as one record set."""
    shards = {
        "@type": "cr:FileSet",
        "@id": "shards",
        "name": "shards",
        "encodingFormat": "application/x-parquet",
        "includes": "images/*.parquet",
    }
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"images/{field.name}",
            "name": field.name,
            "dataType": _data_type(field.type),
            "source": {"fileSet": {"@id": "shards"}, "extract": {"column": field.name}},
        }
        for field in IMAGES
    ]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest["name"],
        "description": manifest["title"],
        "license": manifest["licence"] or "not stated",
        "identifier": manifest["dataset_id"],
        "version": manifest["code_version"],
        "distribution": [shards],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "images", "name": "images", "field": fields}],
    }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return "sc:Text"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    return "sc:Text" if pa.types.is_struct(kind) else "sc:ImageObject"


OPEN = "_To be written by a person._"


def datasheet(manifest: dict[str, Any]) -> str:
    """A datasheet (Gebru et al. 2021) in Markdown: what the manifest knows is filled in, the rest is marked open."""
    counts = "\n".join(
        f"| {row['source']} | {row['modality']} | {row['patients']:,} | {row['studies']:,} | {row['series']:,} "
        f"| {row['images']:,} |"
        for row in manifest["counts"]
    )
    excluded = "\n".join(f"| {row['stage']} | {row['reason']} | {row['count']:,} |" for row in manifest["excluded"])
    labels = "\n".join(
        f"| {task} | {account['samples']:,} | {account['classes']} |"
        for task, account in manifest["label_audit"].items()
    )
    card = manifest["card"]
    identities = (
        "The source holds identities. All ids are HMAC-SHA256 pseudonyms under a secret key "
        f"(key id {manifest['key_id']}); dates became days since the patient's first study; ages above 89 became 90; "
        "nothing of the headers is kept but the columns of the dataset."
        if manifest["phi_source"]
        else "The source is public already; ids are made with a public key and hide nobody."
    )
    return f"""# Datasheet: {manifest["title"]}

`{manifest["dataset_id"]}`, written by OrthoRay {manifest["code_version"]}.

## Motivation
{OPEN} For what purpose, by whom and with whose money was the source collected?

## Composition
| source | modality | patients | studies | series | images |
|---|---|---|---|---|---|
{counts}

{manifest["n_read"]:,} images were read, {manifest["n_excluded"]:,} of them excluded:

| stage | reason | images |
|---|---|---|
{excluded}

| labels of task | samples | classes |
|---|---|---|
{labels}

Licence: {manifest["licence"] or OPEN}

## Collection
{OPEN} Scanners, protocols, period, consent or waiver, ethics number.

## Preprocessing
One 8-bit grey image per frame, short side at most {card["short_side"]} px. Window: {card["window"]}. Films of both
joints: {card["bilateral"]}. The window, its policy and the measures of quality stand in the columns of every image.
{identities}

## Uses
{OPEN} For what has it been used; for what should it not be used?

## Distribution and maintenance
{OPEN} Who may have it, who keeps it and how are errors reported?
"""

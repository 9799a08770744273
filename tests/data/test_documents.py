"""Croissant metadata, datasheet and flow diagram agree with the manifest."""

import re
import xml.etree.ElementTree as ET

import pytest

from orthoray.data.documents import croissant, datasheet
from orthoray.data.flow import flow_svg
from orthoray.data.schema import IMAGES

MANIFEST = {
    "dataset_id": "ds-0123456789abcdef",
    "name": "trial",
    "title": "Trial <films> & more",
    "licence": "",
    "phi_source": True,
    "key_id": "abcd1234",
    "code_version": "1.2.3",
    "n_read": 1210,
    "n_excluded": 310,
    "counts": [{"source": "trial", "modality": "XR", "patients": 400, "studies": 450, "series": 900, "images": 900}],
    "funnel": [
        {"stage": "files found", "count": 1200},
        {"stage": "images after splitting films", "count": 1210},
        {"stage": "of the wanted kind", "count": 1000, "stage_id": "select"},
        {"stage": "decoded", "count": 1000, "stage_id": "decode"},
        {"stage": "showing something", "count": 900, "stage_id": "quality"},
    ],
    "excluded": [
        {"stage": "select", "reason": "localiser", "count": 150},
        {"stage": "select", "reason": "no_patient", "count": 60},
        {"stage": "quality", "reason": "blurred", "count": 100},
    ],
    "label_audit": {"xr_kl": {"samples": 880, "classes": {"KL 0": 400, "KL 1": 480}}},
    "card": {"short_side": 512, "window": "header", "bilateral": "split"},
}


def test_the_diagram_shows_every_count_and_reason_once():
    root = ET.fromstring(flow_svg(MANIFEST))
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    for step in MANIFEST["funnel"]:
        assert f"{step['count']:,}" in texts
        assert step["stage"] in texts
    assert [text for text in texts if text.startswith("excluded")] == ["excluded: 210", "excluded: 100"]
    assert texts.count("150 localiser") == texts.count("60 no patient") == texts.count("100 blurred") == 1


def test_boxes_of_the_diagram_do_not_overlap():
    root = ET.fromstring(flow_svg(MANIFEST))
    boxes = [
        tuple(float(node.get(name)) for name in ("x", "y", "width", "height"))
        for node in root.iter("{http://www.w3.org/2000/svg}rect")
    ]
    height = float(root.get("height"))
    for number, (x, y, w, h) in enumerate(boxes):
        assert y >= 0
        assert y + h <= height
        for a, b, c, d in boxes[number + 1 :]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


def test_croissant_names_every_column_with_a_type():
    fields = croissant(MANIFEST)["recordSet"][0]["field"]
    assert [field["name"] for field in fields] == IMAGES.names
    kinds = {field["name"]: field["dataType"] for field in fields}
    assert (kinds["age"], kinds["height"], kinds["site"], kinds["pixels"]) == (
        "sc:Float", "sc:Integer", "sc:Text", "sc:ImageObject"
    )  # fmt: skip


def test_croissant_is_accepted_by_the_reference_validator():
    mlcroissant = pytest.importorskip("mlcroissant", reason="the validator of Croissant is not installed")
    issues = mlcroissant.Dataset(jsonld=croissant(MANIFEST)).metadata.ctx.issues
    assert not issues.errors


def test_the_datasheet_is_filled_where_the_manifest_knows_and_open_where_not():
    text = datasheet(MANIFEST)
    assert "| trial | XR | 400 | 450 | 900 | 900 |" in text
    assert "| quality | blurred | 100 |" in text
    assert "1,210 images were read, 310 of them excluded" in text
    assert "key id abcd1234" in text
    assert len(re.findall("To be written by a person", text)) == 5

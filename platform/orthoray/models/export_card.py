"""The model card of an exported checkpoint: what it is, where it comes from, what it gained, how to use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orthoray.models.audit import LICENCES

if TYPE_CHECKING:
    from orthoray.models.checkpoint import CheckpointCard
    from orthoray.models.export_check import Proof
    from orthoray.models.export_gains import Gain, Gains

LIBRARY = {"timm": "timm", "hf": "transformers", "onnx": "onnx"}
"""Name of the library that loads a format, as model hubs write it."""


def model_card(kind: str, card: CheckpointCard, proof: Proof, gains: Gains | None = None) -> str:
    """``README.md`` in Markdown, with the head that model hubs read.

    Args:
        kind: ``timm``, ``hf`` or ``onnx``.
        card: the checkpoint's own card.
        proof: how the copy was compared.
        gains: results, if there are any.
    """
    made = card.architecture
    rope = {"on": [], "bf16": ["RoPE with periods rounded to bfloat16"], "off": ["RoPE off: blind to positions"]}
    facts = [
        ("Architecture", f"`{made.name}` (timm)" + "".join(f", {text}" for text in rope[made.rope])),
        ("Images", f"{made.in_chans} channel(s), {card.img_size} × {card.img_size} px, {_patch(card)}"),
        ("Features", f"{card.feature_dim} values, {card.num_register_tokens} register token(s)"),
        ("Normalisation", _normalisation(card)),
    ]
    parts = [
        _head(kind, card),
        f"# {made.name}, pretrained with OrthoRay",
        "A backbone for orthopaedic images (grey X-ray films and MRI slices): it turns an image into a class token and "
        "patch tokens. It has no classifier.",
        _table(("", ""), facts),
        "## Use",
        _usage(kind, card),
        "## Where it comes from",
        _table(("", ""), _provenance(card)),
        _licence(card),
        "## Results",
        _results(gains),
        "## Proof of this copy",
        f"Read back with {proof.by}, its tokens differ from the checkpoint's by at most {proof.difference:.1e} of "
        f"their root mean square ({proof.tolerance:.0e} allowed). " + " ".join(proof.notes),
        "## Limits",
        "For research only; not a diagnostic device. It was judged on no data but what is listed above; measure it on "
        "your own patients, scanners and views before you rely on it.",
    ]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _head(kind: str, card: CheckpointCard) -> str:
    licence = card.provenance.initial_licence
    lines = ["---", f"library_name: {LIBRARY[kind]}", "pipeline_tag: image-feature-extraction"]
    lines += ["tags: [orthoray, medical-imaging, radiology, dino]"]
    if licence in LICENCES:
        lines += ["license: other", f"license_name: {licence}"]
    return "\n".join([*lines, "---"])


def _patch(card: CheckpointCard) -> str:
    return f"patches of {card.patch_size} px" if card.patch_size else "no patches (convolutional)"


def _normalisation(card: CheckpointCard) -> str:
    rule = card.normalisation
    if rule.kind == "fixed":
        return f"grey levels of 0..1: (x − {rule.mean:g}) / {rule.std:g}"
    return f"each image by itself, grey levels of 0..1: (x − its mean) / (its SD + {rule.floor:g})"


def _provenance(card: CheckpointCard) -> list[tuple[str, str]]:
    made = card.provenance
    return [
        ("Datasets", ", ".join(f"`{name}`" for name in made.dataset_ids) or "none recorded"),
        ("Initial weights", f"`{made.initial_weights}`" if made.initial_weights else "none (trained from scratch)"),
        ("Their licence", _licence_name(card)),
        ("Training", f"{made.steps:,} steps, {made.images_seen:,} images, seed {made.seed}"),
        ("Made by", f"OrthoRay {made.code_version}"),
    ]


def _licence_name(card: CheckpointCard) -> str:
    made = card.provenance
    if made.initial_weights is None:
        return "does not apply"
    if made.initial_licence is None:
        return "**not known; find out before you pass these weights on**"
    return LICENCES.get(made.initial_licence, made.initial_licence)


def _licence(card: CheckpointCard) -> str:
    if card.provenance.initial_licence != "dinov3-license":
        return ""
    return (
        "> **These weights derive from Meta's DINOv3 and stay under the DINOv3 License.** It goes with every copy, "
        "limits what they may be used for, and asks for acknowledgement in publications. Read it before using or "
        "passing them on."
    )


def _usage(kind: str, card: CheckpointCard) -> str:
    chans, side = card.architecture.in_chans, card.img_size
    grey = f"image = torch.rand(1, {chans}, {side}, {side})  # your grey levels, 0..1"
    rule = card.normalisation
    x = f"x = (image - {rule.mean:g}) / {rule.std:g}"
    if rule.kind != "fixed":
        over = "dim=(-2, -1), keepdim=True"
        x = f"x = (image - image.mean({over})) / (image.std({over}, correction=0) + {rule.floor:g})"
    code = {
        "timm": [
            "import timm, torch",
            "model = timm.create_model('local-dir:THIS_FOLDER', pretrained=True).eval()",
            grey,
            x,
            "class_token = model(x)  # model.forward_features(x) gives the places as well",
        ],
        "hf": [
            "import torch",
            "from transformers import AutoModel",
            "model = AutoModel.from_pretrained('THIS_FOLDER').eval()",
            grey,
            x,
            "tokens = model(pixel_values=x).last_hidden_state  # class token, registers, patches",
        ],
        "onnx": [
            "import numpy as np, onnxruntime",
            "session = onnxruntime.InferenceSession('THIS_FOLDER/model.onnx')",
            f"image = np.random.rand(1, {chans}, {side}, {side}).astype(np.float32)  # your grey levels, 0..1",
            "class_token, patch_tokens = session.run(None, {'image': image})  # the graph normalises",
        ],
    }
    return "\n".join(["```python", *code[kind], "```"])


def _results(gains: Gains | None) -> str:
    if gains is None:
        return "None were given to the export. Measure with `orthoray study` and export again with `--results`."
    note = (
        "Pretraining saw images that these tasks are judged on (without their labels), so this is not an external test."
        if gains.overlap
        else "Pretraining saw none of the datasets that these tasks are judged on."
    )
    title = ("Task", "Protocol", "Metric", "Patients", "Frozen start", "Adapted", "Gain")
    said = (
        f"Study `{gains.study}`, patient-grouped folds: the backbone before pretraining (`{gains.start}`) against this "
        f"one (`{gains.adapted}`); mean ± SD over folds, the gain fold by fold. {note}"
    )
    return f"{said}\n\n{_table(title, [_cells(row) for row in gains.rows])}"


def _cells(row: Gain) -> tuple[str, ...]:
    return (
        row.task,
        row.protocol,
        row.metric,
        str(row.n_patients),
        f"{row.start:.3f} ± {row.start_sd:.3f}",
        f"{row.adapted:.3f} ± {row.adapted_sd:.3f}",
        f"{row.gain:+.3f} ± {row.gain_sd:.3f} ({row.n_folds} folds)",
    )


def _table(title: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [title, tuple("---" for _ in title), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

"""Make each tensor of a model out of those that were given under the common names (see `layouts`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

How = Literal["same", "renamed", "joined", "split", "folded", "interpolated", "missing", "misfit", "unused"]
"""What became of a tensor: taken over under its name or another, put together from several, cut out of one, folded from
three channels to one, resampled to another grid, not in the file, there in another shape, or left over."""


@dataclass(frozen=True)
class Piece:
    """A tensor on its way into the model, the names in the file that it comes from, and what was done to it."""

    tensor: torch.Tensor
    sources: tuple[str, ...]
    how: How = "same"
    note: str = ""

    def become(self, tensor: torch.Tensor, how: How, note: str = "", *others: Piece) -> Piece:
        """The same, changed to ``tensor``, perhaps with the help of ``others``."""
        sources = dict.fromkeys([*self.sources, *(name for other in others for name in other.sources)])
        noted = "; ".join(text for text in (self.note, note) if text)
        return replace(self, tensor=tensor, sources=tuple(sources), how=how, note=noted)


Given = Mapping[str, Piece]
Recipe = Callable[[str, Given], Piece | None]
"""From what stands before the end of a name (``blocks.0.``) and what was given, the piece."""


def find_piece(name: str, given: Given) -> Piece | None:
    """The piece for the model's tensor ``name``: the one of this name, or made of others; None if there is none."""
    parts = name.split(".")
    for length in (1, 2, 3):
        leaf, stem = ".".join(parts[-length:]), ".".join(parts[:-length])
        recipe = RECIPES.get(leaf)
        found = None if recipe is None else recipe(f"{stem}." if stem else "", given)
        if found is not None:
            return found
    return given.get(name)


def _named(name: str) -> Recipe:
    return lambda stem, given: given.get(stem + name)


def _joined(*names: str) -> Recipe:
    def make(stem: str, given: Given) -> Piece | None:
        import torch

        found = [given[stem + name] for name in names if stem + name in given]
        if len(found) != len(names):
            return None
        return found[0].become(torch.cat([piece.tensor for piece in found]), "joined", "", *found[1:])

    return make


def _part(index: int, count: int, name: str) -> Recipe:
    def cut(stem: str, given: Given) -> Piece | None:
        whole = given.get(stem + name)
        if whole is None or len(whole.tensor) % count:
            return None
        return whole.become(whole.tensor.chunk(count)[index], "split", f"part {index + 1} of {count}")

    return cut


def _first(*recipes: Recipe) -> Recipe:
    def make(stem: str, given: Given) -> Piece | None:
        return next((piece for piece in (recipe(stem, given) for recipe in recipes) if piece is not None), None)

    return make


def _qkv_bias(stem: str, given: Given) -> Piece | None:
    """Biases of query, key and value in one; a key without bias, as in DINOv3, has zeros."""
    import torch

    query, key, value = (given.get(f"{stem}attn.{part}.bias") for part in "qkv")
    if query is None or value is None:
        return None
    middle = torch.zeros_like(query.tensor) if key is None else key.tensor
    others = [piece for piece in (key, value) if piece is not None]
    note = "" if key is not None else "the key's bias is zero"
    return query.become(torch.cat((query.tensor, middle, value.tensor)), "joined", note, *others)


RECIPES: dict[str, Recipe] = {
    "attn.qkv.weight": _joined("attn.q.weight", "attn.k.weight", "attn.v.weight"),
    "attn.qkv.bias": _qkv_bias,
    "attn.q_bias": _first(_named("attn.q.bias"), _part(0, 3, "attn.qkv.bias")),
    "attn.v_bias": _first(_named("attn.v.bias"), _part(2, 3, "attn.qkv.bias")),
    **{
        f"attn.{part}_proj.{leaf}": _first(_named(f"attn.{part}.{leaf}"), _part(index, 3, f"attn.qkv.{leaf}"))
        for index, part in enumerate("qkv")
        for leaf in ("weight", "bias")
    },
    **{
        f"mlp.fc1.{leaf}": _first(
            _named(f"mlp.w12.{leaf}"),
            _joined(f"mlp.w1.{leaf}", f"mlp.w2.{leaf}"),
            _joined(f"mlp.w1.{leaf}", f"mlp.up.{leaf}"),
            _named(f"mlp.up.{leaf}"),
        )
        for leaf in ("weight", "bias")
    },
    **{
        f"mlp.fc1_{gate}.{leaf}": _first(
            _named(f"mlp.w{index + 1}.{leaf}"),
            _part(index, 2, f"mlp.w12.{leaf}"),
            *([_named(f"mlp.up.{leaf}")] if gate == "x" else []),
        )
        for index, gate in enumerate("gx")
        for leaf in ("weight", "bias")
    },
    "gamma_1": _named("ls1.gamma"),
    "gamma_2": _named("ls2.gamma"),
}
"""For the ends of names in the model: how to make the tensor from what was given, where it is not there by its name."""

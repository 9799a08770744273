"""Three channels fold into one exactly, with and without the normalisation that each of them had."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tests.models.checkpoints import FAMILIES, network
from torch.nn import functional

from orthoray.errors import InputError
from orthoray.models import Normalisation, create_backbone, forward_tokens, normalise
from orthoray.models.folding import IMAGENET, SourceNormalisation, fold_kernel, fold_normalised

KINDS = ["vit", "dinov2 with registers", "dinov3 with biases", "convnext"]


def grey(family, batch=2):
    side = 64 if family == "convnext" else 32
    return torch.rand(batch, 1, side, side, generator=torch.Generator().manual_seed(2))


def assert_same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", KINDS)
def test_one_channel_equals_three_times_the_same(family, tmp_path):
    colour = network(family, in_chans=3)
    save_file(colour.state_dict(), tmp_path / "w.safetensors")
    name, sizes = FAMILIES[family]
    folded = create_backbone(name, str(tmp_path / "w.safetensors"), **sizes).eval()
    x = normalise(grey(family), Normalisation())
    with torch.inference_mode():
        assert_same(forward_tokens(folded, x), forward_tokens(colour, x.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("family", KINDS)
def test_the_normalisation_of_each_channel_folds_in(family, tmp_path):
    """Ours on one grey channel is the source's own on three, to rounding."""
    colour, ours = network(family, in_chans=3), Normalisation(mean=0.31, std=0.17)
    save_file(colour.state_dict(), tmp_path / "w.safetensors")
    name, sizes = FAMILIES[family]
    options = {"source_normalisation": IMAGENET, "normalisation": ours}
    folded = create_backbone(name, str(tmp_path / "w.safetensors"), **options, **sizes).eval()
    levels = grey(family)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))
    with torch.inference_mode():
        wanted = forward_tokens(colour, (levels - mean) / std)
        assert_same(forward_tokens(folded, normalise(levels, ours)), wanted)
        by_sum = create_backbone(name, str(tmp_path / "w.safetensors"), **sizes).eval()
        plain = forward_tokens(by_sum, normalise(levels, ours))
    assert (plain[0] - wanted[0]).abs().max() > 1e-2  # the sum alone is not exact then


@settings(max_examples=50, deadline=None)
@given(
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    std=st.tuples(*[st.floats(0.05, 1)] * 3),
    ours=st.tuples(st.floats(0, 1), st.floats(0.05, 1)),
    seed=st.integers(0, 99),
)
def test_folding_is_exact_for_any_normalisation(mean, std, ours, seed):
    lot = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 3, 4, 4, generator=lot, dtype=torch.float64)
    bias, levels = torch.randn(5, generator=lot).double(), torch.rand(2, 1, 8, 8, generator=lot).double()
    source = SourceNormalisation(mean=mean, std=std)
    kernel, shifted = fold_normalised(weight, bias, source, Normalisation(mean=ours[0], std=ours[1]))
    found = functional.conv2d((levels - ours[0]) / ours[1], kernel, shifted, stride=4)
    three = (levels - torch.tensor(mean).double()[:, None, None]) / torch.tensor(std).double()[:, None, None]
    torch.testing.assert_close(found, functional.conv2d(three, weight, bias, stride=4), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(fold_kernel(weight)[:, 0], weight[:, 0] + weight[:, 1] + weight[:, 2])


def test_what_cannot_be_folded_is_refused(tmp_path):
    weight = torch.ones(2, 3, 4, 4)
    with pytest.raises(InputError, match="per_image differs"):
        fold_normalised(weight, torch.ones(2), IMAGENET, Normalisation(kind="per_image"))
    with pytest.raises(InputError, match="has no bias"):
        fold_normalised(weight, None, IMAGENET, Normalisation())
    name, sizes = FAMILIES["vit"]
    save_file(network("vit").state_dict(), tmp_path / "grey.safetensors")
    with pytest.raises(InputError, match="three channels into one"):
        create_backbone(name, str(tmp_path / "grey.safetensors"), source_normalisation=IMAGENET, **sizes)
    with pytest.raises(InputError, match="needs weights"):
        create_backbone(name, source_normalisation=IMAGENET, **sizes)
    overlapping = create_backbone("convnext_nano_ols", in_chans=3, depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))
    save_file(overlapping.state_dict(), tmp_path / "ols.safetensors")
    options = {"source_normalisation": IMAGENET, "depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)}
    with pytest.raises(InputError, match="overlaps or pads"):
        create_backbone("convnext_nano_ols", str(tmp_path / "ols.safetensors"), **options)

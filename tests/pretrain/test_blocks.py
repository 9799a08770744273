"""Recomputation and compilation change nothing but time and memory."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from orthoray.models import create_backbone
from orthoray.models.adapters import blocks_of
from orthoray.models.precision import resolve_precision
from orthoray.pretrain.blocks import compile_blocks, compiler_problem, recompute_blocks
from orthoray.pretrain.parallel import resolve_parallel
from orthoray.pretrain.settings.parallel import ParallelConfig

pytestmark = pytest.mark.slow

FAMILIES = {
    "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2},
    "vit_small_patch16_dinov3": {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32), "patch_size": 1},
}


def made(family):
    torch.manual_seed(0)
    return create_backbone(family, drop_path_rate=0.5, **FAMILIES[family]).train()


def gradients(model):
    """Features of both sizes of crops, and all gradients; random numbers as after one seed."""
    torch.manual_seed(3)
    model.zero_grad()
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    found = [model.forward_features(images), model.forward_features(images[..., :16, :16])]
    sum(part.square().mean() for part in found).backward()
    return [*found, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("every", [1, 2])
def test_recomputing_changes_no_gradient_and_really_computes_again(family, every):
    backbone = made(family)
    other = copy.deepcopy(backbone)
    names = set(other.state_dict())
    recompute_blocks(blocks_of(other), every)
    calls = dict.fromkeys(range(len(blocks_of(other))), 0)
    for index, block in enumerate(blocks_of(other)):
        block.mlp.register_forward_pre_hook(lambda *_, index=index: calls.update({index: calls[index] + 1}))
    for mine, theirs in zip(gradients(other), gradients(backbone), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-7, rtol=1e-6)
    assert calls == {index: 4 if index % every == 0 else 2 for index in calls}
    assert set(other.state_dict()) == names


@pytest.mark.parametrize("family", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
def test_blocks_of_one_structure_compile_once_for_each_size(family):
    plain = made(family)
    for block in blocks_of(plain):
        block.drop_path1, block.drop_path2 = plain.blocks[-1].drop_path1, plain.blocks[-1].drop_path2
    other = copy.deepcopy(plain)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compile_blocks(blocks_of(other), counter)
    for mine, theirs in zip(gradients(other), gradients(plain), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)
    assert counter.frame_count == 2
    assert set(other.state_dict()) == set(plain.state_dict())


def test_without_a_compiler_the_run_goes_on_and_says_why():
    from torch._inductor import config
    from torch._inductor.utils import fresh_cache

    compiler_problem.cache_clear()
    try:
        with config.patch({"cpp.cxx": ("/no/such/compiler",)}), fresh_cache():
            asked = ParallelConfig(compile=True)
            plan = resolve_parallel(asked, torch.device("cpu"), resolve_precision("fp32", "cpu"))
    finally:
        compiler_problem.cache_clear()
    assert not plan.compiled
    assert "not compiled although asked for, since the compiler for cpu fails" in plan.reason
    assert "/no/such/compiler" in plan.reason

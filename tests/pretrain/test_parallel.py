"""Two workers do what one does with the whole batch, by either strategy, and their checkpoints know of neither."""

import pytest
import torch
from tests.pretrain.parallel_workers import ToyLearner, crops, resumed, saved_and_went_on, start, trained

from orthoray.models.precision import resolve_precision
from orthoray.pretrain.parallel import resolve_parallel
from orthoray.pretrain.settings.parallel import ParallelConfig

pytestmark = pytest.mark.slow

DDP, FSDP = {"parallel": {"strategy": "ddp"}}, {"parallel": {"strategy": "fsdp2"}}
DINOV3 = (
    "vit_small_patch16_dinov3_qkvb",
    {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
)
CONVNEXT = ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32), "patch_size": 1})


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_equal(found, expected, atol=1e-5):
    """Student, teacher and moments are the same tensors under the same names."""
    for part in ("student", "teacher"):
        assert found[part].keys() == expected[part].keys()
        for name, value in expected[part].items():
            torch.testing.assert_close(found[part][name], value, atol=atol, rtol=0.0, msg=lambda m, n=name: f"{n}: {m}")
    assert found["optimiser"].keys() == expected["optimiser"].keys()
    for name, moments in expected["optimiser"].items():
        assert found["optimiser"][name]["step"] == moments["step"]
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(found["optimiser"][name][key], moments[key], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found["centre"], expected["centre"], atol=atol, rtol=0.0)


def test_ddp_and_fsdp2_with_two_workers_are_one_worker_with_the_whole_batch(tmp_path):
    lengths = {"centre": 20, "sinkhorn_knopp": 5}
    cases = [(name, how) for name in lengths for how in (DDP, FSDP)]
    tasks = [("trained", {"steps": lengths[name], "centring": name, **how}) for name, how in cases]
    first, second = start(tasks, tmp_path)
    alone = {name: trained(0, 1, steps, centring=name) for name, steps in lengths.items()}
    for (name, _), mine, theirs in zip(cases, first, second, strict=True):
        assert_equal(mine, alone[name])
        rows = zip(alone[name]["rows"], mine["rows"], theirs["rows"], strict=True)
        for (loss, norms), (loss_mine, norms_mine), (loss_theirs, norms_theirs) in rows:
            assert (loss_mine + loss_theirs) / 2 == pytest.approx(loss, rel=1e-4)
            assert norms_mine == norms_theirs == pytest.approx(norms, rel=1e-3)
    assert_equal(first[1], first[0])
    assert all(found["student"] == found["optimiser"] == {} for found in second)  # only rank 0 gathers


CASES = {
    "in parts": {"parallel": {"accumulate": 2}},
    "in parts, with a loss of the batch of all workers": {"parallel": {"accumulate": 3}, "koleo": 0.1},
    "recomputed and compiled": {"parallel": {"recompute": "full"}, "compiled": True},
    "whole blocks kept": {"parallel": {"reshard": False}},
    "adapted": {"adapter": {"kind": "lora", "rank": 2, "unfreeze": 1}},
    "adapted in part": {"adapter": {"kind": "apla", "fraction": 0.25}},
    "dinov3": {"backbone": DINOV3},
    "convnext": {"backbone": CONVNEXT},
}


def how(options, strategy):
    return {**options, "parallel": {**options.get("parallel", {}), "strategy": strategy}}


GROUPS = {"parts": slice(0, 2), "ways": slice(2, 5), "backbones": slice(5, 8)}


@pytest.mark.parametrize("names", [list(CASES)[part] for part in GROUPS.values()], ids=GROUPS)
def test_fsdp2_is_ddp_and_both_are_the_plain_step(names, tmp_path):
    strategies = ("ddp", "fsdp2")
    tasks = [("trained", {"steps": 2, **how(CASES[name], strategy)}) for name in names for strategy in strategies]
    first, _ = start(tasks, tmp_path)
    for name, ddp, fsdp in zip(names, first[::2], first[1::2], strict=True):
        assert_equal(fsdp, ddp)
        plain = {key: value for key, value in CASES[name].items() if key in ("adapter", "backbone", "koleo")}
        assert_equal(ddp, trained(0, 1, 2, **plain))


@pytest.mark.parametrize("saver", [DDP, FSDP], ids=["ddp", "fsdp2"])
def test_a_checkpoint_goes_on_by_the_other_strategy_and_in_one_process(saver, tmp_path):
    (tmp_path / "first").mkdir()
    ((saved, *_), _) = start([("saved_and_went_on", saver)], tmp_path / "first")
    held = {name for name in saved["saved"]["optimiser"] if name.startswith("backbone.")}
    steps = {name: int(moments["step"]) for name, moments in saved["saved"]["optimiser"].items()}
    assert held
    assert {steps[name] for name in held} == {1}
    assert {step for name, step in steps.items() if name not in held} == {3}
    file = tmp_path / "state.pt"
    torch.save(saved["saved"], file)

    other = FSDP if saver is DDP else DDP
    first, second = start([("resumed", {"file": str(file), **other}), ("refused", {"file": str(file)})], tmp_path)
    for found in (first[0], resumed(0, 1, str(file))):
        assert_equal(found["loaded"], saved["saved"], atol=0.0)
        assert_equal(found["end"], saved["end"])

    (told, unchanged), (told_second, unchanged_second) = first[1], second[1]
    assert told == told_second
    assert len(told) == 4
    assert all("of another architecture" in text for text in told)
    assert "another.name" in told[2]
    assert unchanged
    assert unchanged_second


def test_a_state_within_the_head_s_warm_up_has_no_moments_of_the_backbone():
    learner = ToyLearner()
    learner.step(*crops(0))
    before = saved_and_went_on(0, 1)["saved"]
    learner.load({**before, "optimiser": {k: v for k, v in before["optimiser"].items() if k.startswith("head.")}})
    assert learner.state()["optimiser"].keys() == {k for k in before["optimiser"] if k.startswith("head.")}


def test_a_saved_state_is_a_copy():
    learner = ToyLearner()
    learner.step(*crops(0))
    state = learner.state()
    again = {name: value.clone() for name, value in state["student"].items()}
    moments = {name: value["exp_avg"].clone() for name, value in state["optimiser"].items()}
    learner.step(*crops(0))
    assert all(torch.equal(value, state["student"][name]) for name, value in again.items())
    assert all(torch.equal(value, state["optimiser"][name]["exp_avg"]) for name, value in moments.items())


def test_all_workers_start_from_the_weights_of_rank_0(tmp_path):
    first, second = start([("started", {"strategy": name}) for name in ("ddp", "fsdp2")], tmp_path)
    alone = ToyLearner().state()
    for mine, theirs in zip(first, second, strict=True):
        for part in ("student", "teacher"):
            assert all(torch.equal(value, mine[part][name]) for name, value in alone[part].items())
            assert all(torch.equal(value, theirs[part][name]) for name, value in alone[part].items())


def test_parts_of_a_batch_exchange_gradients_once(tmp_path):
    ((found,), _) = start([("exchanged", {})], tmp_path)
    assert found["ddp 1"] == found["ddp 3"] > 0
    # The blocks are called for each size of crops: once for what earlier parts left, once for the last part.
    assert 0 < found["fsdp2 1"] <= found["fsdp2 3"] < 2 * found["fsdp2 1"]


def test_shards_are_halves_in_full_precision_and_a_head_can_be_gathered(tmp_path):
    low = {"steps": 1, "precision": "bf16"}
    tasks = [("shards", {}), ("trained", {**low, **DDP}), ("trained", {**low, **FSDP})]
    for found, ddp, fsdp in start(tasks, tmp_path):
        assert all(0.45 < share < 0.55 for share in found["share"])
        assert found["dtypes"] == ["torch.float32"]
        assert found["gathered"] == ((64, 16), True, True)
        (loss, norms), (loss_sharded, norms_sharded) = ddp["rows"][0], fsdp["rows"][0]
        assert loss_sharded == pytest.approx(loss, rel=0.01)
        assert norms_sharded == pytest.approx(norms, rel=0.05)


def test_without_a_process_group_everything_is_one_process():
    for strategy in ("ddp", "fsdp2"):
        config = ParallelConfig(strategy=strategy, recompute=2)
        plan = resolve_parallel(config, torch.device("cpu"), resolve_precision("bf16", "cpu"))
        assert (plan.strategy, plan.workers, plan.every, plan.dtype) == ("one", 1, 2, torch.bfloat16)
        assert plan.reason == "one process, one of 2 blocks recomputed, not compiled"

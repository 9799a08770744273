"""Plans: data at hand or assumed, the tightest of three bounds, hours and money, memory, and what is warned of."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.pretrain.labelled import write_backbone
from tests.pretrain.two_workers import crops, learner_for, values

from orthoray.data.codec import encode
from orthoray.errors import InputError
from orthoray.models import load_checkpoint
from orthoray.models.features import forward_tokens
from orthoray.models.peaks import GPU_PEAKS
from orthoray.pretrain.advice import advise, usual_rates
from orthoray.pretrain.crops import MultiCropConfig
from orthoray.pretrain.estimate import estimate
from orthoray.pretrain.estimate_devices import HERE, Wishes
from orthoray.pretrain.estimate_text import head_lines, show
from orthoray.pretrain.feed_rate import images_per_core, synthetic_film
from orthoray.pretrain.memory import GIB, GPU_MEMORY
from orthoray.pretrain.teacher_checkpoint import save_teacher

pytestmark = pytest.mark.slow


def wishes(**changes):
    return Wishes(**{"gpu": "H100", "images_per_core": 500.0, **changes})


@pytest.fixture
def large_config(config_of):
    """Return a function: changes → a run of ViT-L/16 (of ``depth`` blocks) on data that is not at hand."""

    def make(depth=2, **changes):
        kwargs = {"depth": depth}
        model = {"backbone": "vit_large_patch16_224", "img_size": 224, "patch_size": "auto", "kwargs": kwargs}
        sizes = {"global_size": 224, "local_size": 96, "n_local": 8}
        head = {"prototypes": 65536, "hidden_dim": 2048, "bottleneck_dim": 256}
        made = {"model": model, "crops": sizes, "head": head, "dataset": "s3-that-is-not-there", "batch_size": 64}
        return config_of(**{**made, "steps": 1000, **changes})

    return make


def test_a_plan_of_a_dataset_at_hand_assumes_nothing_of_it(config_of, tiny_dataset):
    plan = estimate(config_of(dataset=tiny_dataset), wishes())
    assert (plan.data.images, plan.data.per_epoch, plan.data.at_hand) == (32, 32, True)
    shards = sum(file.stat().st_size for file in Path(tiny_dataset, "images").iterdir())
    assert plan.data.bytes_per_image == pytest.approx(shards / 32)
    assert (plan.steps, plan.images_seen) == (20, 160)
    assert not any("hand" in line for line in plan.assumed)


def test_without_the_dataset_it_says_what_it_assumed(config_of):
    plan = estimate(config_of(dataset="nowhere", steps=None, epochs=2), wishes())
    assert (plan.data.images, plan.steps) == (1_000_000, 250_000)
    said = " ".join(plan.assumed)
    assert "not at hand: nowhere" in said
    assert "1,000,000 images (--images)" in said
    assert "--image-kb" in said
    told = estimate(config_of(dataset="nowhere", steps=None, epochs=2), wishes(images=800, image_kb=50.0))
    assert (told.data.images, told.data.bytes_per_image, told.steps) == (800, 50e3, 200)
    assert "--images)" not in " ".join(told.assumed)


def test_hours_and_cost_follow_from_flops_peak_and_price(large_config):
    plan = estimate(large_config(depth=24), wishes(gpus=4, price_gpu_hour=2.5, mfu=0.5))
    (device,) = plan.devices
    assert round(plan.flops.nominal / 1e9) == 1525  # one channel; DINO alone
    assert device.device_rate == pytest.approx(67e12 * 0.5 / plan.flops.executed)  # this run is one of fp32
    low = estimate(large_config(depth=24, resources__precision="bf16"), wishes(gpus=4, mfu=0.5)).devices[0]
    assert low.device_rate == pytest.approx(989e12 * 0.5 / plan.flops.executed)
    assert device.rate == pytest.approx(4 * device.device_rate)
    assert device.hours == pytest.approx(64_000 / device.rate / 3600)
    assert device.cost == pytest.approx(device.hours * 4 * 2.5)
    assert device.cores_per_device == pytest.approx(device.device_rate / 500.0)
    assert device.read_mb == pytest.approx(device.rate * plan.data.bytes_per_image / 1e6)


@pytest.mark.parametrize(
    ("changes", "bound", "rate"),
    [
        ({}, "device", None),
        ({"cores": 0.2}, "cores", 100.0),
        ({"cores": 1e6}, "device", None),
        ({"read_mb": 5.0, "image_kb": 100.0}, "reading", 50.0),
        ({"read_mb": 5.0, "image_kb": 100.0, "cores": 0.02}, "cores", 10.0),
    ],
)
def test_the_tightest_bound_holds(large_config, changes, bound, rate):
    (device,) = estimate(large_config(), wishes(**changes)).devices
    assert device.bound_by == bound
    assert device.rate == pytest.approx(rate if rate else device.device_rate)


def test_recomputation_costs_time_and_saves_memory(large_config):
    plain, again, half = (
        estimate(large_config(12, parallel__recompute=every), wishes()) for every in ("none", "full", 2)
    )
    assert again.flops.executed > half.flops.executed > plain.flops.executed
    assert again.devices[0].hours > plain.devices[0].hours
    assert again.devices[0].largest_batch > half.devices[0].largest_batch > plain.devices[0].largest_batch


def test_memory_is_that_of_the_largest_share_on_one_device(large_config):
    plan = estimate(large_config(24, batch_size=1000), wishes(gpus=3))
    (device,) = plan.devices
    assert device.needed_gib == pytest.approx(plan.memory.needed(334) / GIB)
    assert device.fits == (device.largest_batch >= 334) is False
    parts = estimate(large_config(24, batch_size=1000, parallel__accumulate=8), wishes(gpus=3)).devices[0]
    assert parts.fits
    shared = estimate(large_config(parallel__strategy="fsdp2"), wishes(gpus=4))
    assert shared.memory.moments == pytest.approx(estimate(large_config(), wishes(gpus=4)).memory.moments / 4)


def test_ibot_gram_and_adapters_are_seen(large_config):
    plain = estimate(large_config(), wishes())
    full = estimate(large_config(losses__ibot={"weight": 1.0}), wishes())
    assert (full.flops.nominal - plain.flops.nominal) / 1e9 == pytest.approx(4 * 58.8 * 2 * 23.592960 / 1e3, rel=1e-4)
    gram = estimate(large_config(losses__gram={"weight": 1.0, "start": 0.75}), wishes())
    assert gram.flops.teacher == pytest.approx(1.25 * plain.flops.teacher)
    lora = estimate(large_config(adapter={"kind": "lora"}), wishes())
    assert lora.trained < 0.1 * lora.parameters
    assert lora.memory.moments < 0.6 * plain.memory.moments
    assert "of them learn" in "\n".join(head_lines(lora))


def test_all_known_gpus_and_this_machine_are_compared(config_of):
    plan = estimate(config_of(dataset="nowhere"), Wishes(images_per_core=100.0, price_gpu_hour=1.0))
    names = [device.name for device in plan.devices]
    assert names == [*GPU_MEMORY, *([] if torch.cuda.is_available() else [HERE])]
    here = plan.devices[-1]
    assert (here.memory_gib, here.cost, here.largest_batch) == (None, None, None)
    assert here.device_rate > 0
    assert {name.split("-")[0] for name in GPU_MEMORY} <= set(GPU_PEAKS)


def test_an_unknown_gpu_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"H10: not known\. Did you mean 'H100'\?"):
        estimate(None, Wishes(gpu="H10"))


def test_a_plan_is_readable_and_its_json_holds_all_of_it(large_config, capsys):
    plan = estimate(large_config(), wishes(price_gpu_hour=2.0, gpus=2))
    show(plan)
    text = capsys.readouterr().out
    for word in ("M parameters", "2 × H100", "device", "GiB", "assumed:", "cost", "GFLOP"):
        assert word in text, word
    show(plan, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(plan.as_json()))
    assert found["flops"]["nominal"] == plan.flops.nominal
    assert found["devices"][0]["cost"] == plan.devices[0].cost


def told(config, images=100_000, **changes):
    options = {"lr": 5e-4, "steps": 10_000, "patch": 8, "workers": 1, "images": images, **changes}
    return advise(config, **options)


def test_a_sound_configuration_gives_no_warning(config_of):
    assert told(config_of(batch_size=256, data__shuffle_window=4096, head__batch_norm=True)) == []


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({}, {"lr": 0.05}, "optimiser.lr 5.0e-02 is far"),
        ({}, {"lr": 1e-6}, "optimiser.lr 1.0e-06 is far"),
        ({"optimiser__warmup": 0.001}, {}, "only 10 of 10,000 steps"),
        ({}, {"workers": 3}, "batch_size 256 cannot be shared evenly by 3 workers; nearest: 255 or 258"),
        (
            {"crops__local_size": 98},
            {"patch": 16},
            "local_size 98 is not a multiple of the patch size 16; give 96 or 112",
        ),
        ({"head__prototypes": 65536}, {"images": 1560}, "head.prototypes 65,536 is more than the 1,560 images"),
        ({"data__shuffle_window": 20_000}, {"images": 9000}, "shuffle_window 20,000 is more than the 9,000 images"),
        ({"data__shuffle_window": 500}, {}, "less than four batches"),
        ({"teacher__temperature": [0.04, 0.1]}, {}, "teacher.temperature 0.1 is not below"),
        ({"teacher__centre_momentum": 1.0, "head__batch_norm": False}, {}, "centre_momentum 1 centres nothing"),
        ({}, {"steps": 100}, "hardly leaves its start"),
        ({"model__freeze_backbone_steps": 10_000}, {}, "the backbone never learns"),
        ({"model__freeze_backbone_steps": 100}, {}, "has learnt nothing yet"),
        ({"model__weights": "x.safetensors"}, {}, "destroy weights at first"),
        ({"batch_size": 16, "head__batch_norm": False}, {}, "small for centring"),
    ],
)
def test_settings_that_work_against_the_run_are_warned_of(config_of, changes, options, words):
    base = {"batch_size": 256, "data__shuffle_window": 4096, "head__batch_norm": True}
    found = told(config_of(**{**base, **changes}), **options)
    assert [line for line in found if words in line], found
    assert len(found) <= 2


def test_what_is_not_known_of_the_data_is_not_warned_of(config_of):
    assert told(config_of(batch_size=256, head__prototypes=65536, head__batch_norm=True), images=None) == []


def test_the_usual_rates_are_those_of_dino_and_dinov2():
    assert usual_rates(256) == (5e-4, pytest.approx(2e-3))
    assert usual_rates(1024) == (2e-3, pytest.approx(4e-3))


def test_the_film_that_is_cut_is_as_hard_as_a_real_one():
    film = synthetic_film(300, 240)
    assert (film.shape, film.dtype) == ((300, 240), np.uint8)
    assert film.std() > 20
    assert len(encode(film)) > 0.3 * film.size


def test_the_rate_is_positive_and_the_threads_are_left_as_they_were():
    cv2.setNumThreads(2)
    assert images_per_core(MultiCropConfig(global_size=32, local_size=16, n_local=1), 64, 64, seconds=0.01) > 1
    assert cv2.getNumThreads() == 2


@pytest.mark.parametrize("adapter", [{}, {"kind": "lora", "rank": 2}, {"kind": "apla"}])
def test_a_light_checkpoint_gives_the_teacher_s_features(config_of, tmp_path, adapter):
    config = config_of(adapter=adapter)
    initial = write_backbone(tmp_path / "initial", seed=config.seed)
    learner = learner_for(config)
    for step in range(2):
        learner.step(*crops(step), values(teacher_momentum=0.5, lr=1e-2))
    state = learner.teacher.state_dict()
    save_teacher(str(tmp_path / "light"), state, initial, config.adapter, steps=2, images_seen=16, config_yaml="a: 1")
    backbone, card = load_checkpoint(str(tmp_path / "light"))
    images = crops(9)[0]
    with torch.no_grad():
        wanted, found = (forward_tokens(model.eval(), images)[0] for model in (learner.teacher.backbone, backbone))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert (card.provenance.steps, card.provenance.images_seen) == (2, 16)
    assert not (tmp_path / "light" / "trainer").exists()

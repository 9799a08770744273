import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orthoray.config import load_config, parse_config, to_yaml
from orthoray.errors import InputError
from orthoray.pretrain.crops import MultiCrop, MultiCropConfig

PLAIN = {"aspect": 1.0, "rotation": 0.0, "global_scale": (1.0, 1.0), "local_size": 8, "n_local": 0}


def ramp(height=64, width=64):
    """Grey level = column: shows scale, place and mirroring at once."""
    return np.tile(np.linspace(0, 252, width).astype(np.uint8), (height, 1))


def test_whole_image_crop_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    cut = MultiCrop(MultiCropConfig(global_size=64, **PLAIN))
    views, details = cut(image, np.random.default_rng(1))
    assert np.array_equal(views[0], image)
    assert details.shape == (0, 8, 8)


def test_flip_mirrors_the_columns_of_every_other_crop():
    image, (plain, mirrored) = ramp(), (ramp(), ramp()[:, ::-1])
    cut = MultiCrop(MultiCropConfig(global_size=64, flip="horizontal_anyway", **PLAIN))
    views = [view for seed in range(100) for view in cut(image, np.random.default_rng(seed))[0]]
    flipped = [np.array_equal(view, mirrored) for view in views]
    assert all(np.array_equal(view, plain) for view, turned in zip(views, flipped, strict=True) if not turned)
    assert 70 < sum(flipped) < 130  # 100 expected, 4 sigma either way
    assert 25 < sum(one != other for one, other in zip(flipped[::2], flipped[1::2], strict=True)) < 75


def test_off_may_be_written_as_yaml_reads_it(tmp_path):
    file = tmp_path / "crops.yaml"
    for text in ("flip: off", "flip: 'off'"):
        file.write_text(text)
        assert load_config(MultiCropConfig, file) == MultiCropConfig()
    file.write_text(to_yaml(MultiCropConfig()))
    assert load_config(MultiCropConfig, file) == MultiCropConfig()
    assert load_config(MultiCropConfig, file, ["flip=off"]) == MultiCropConfig()


@pytest.mark.parametrize("given", [{"flip": True}, {"flip": 0.5}, {"flip": "vertical"}])
def test_other_flips_are_refused(given):
    with pytest.raises(InputError, match=r"flip: .*'off', 'horizontal' or 'horizontal_anyway'"):
        parse_config(MultiCropConfig, given, "crops")


def test_flips_need_canonical_laterality_or_consent():
    with pytest.raises(InputError, match=r"exchanges medial and lateral.*canonical_laterality: true, or consent"):
        parse_config(MultiCropConfig, {"flip": "horizontal"}, "crops")
    assert parse_config(MultiCropConfig, {"flip": "horizontal", "canonical_laterality": True}, "crops").flip
    assert parse_config(MultiCropConfig, {"flip": "horizontal_anyway"}, "crops").flip


def test_a_gap_without_neighbours_is_refused():
    with pytest.raises(InputError, match="`max_gap_mm` means nothing with second_view: same"):
        parse_config(MultiCropConfig, {"max_gap_mm": 3.0}, "crops")


def test_modalities_have_scales_of_their_own():
    by_modality = {"MR": {"global_scale": [0.9, 0.9], "local_scale": [0.5, 0.5]}, "XR": {"local_scale": [0.2, 0.2]}}
    plain = {"global_size": 32, "local_size": 16, "n_local": 1, "aspect": 1.0, "global_scale": [0.25, 0.25]}
    config = parse_config(MultiCropConfig, plain | {"by_modality": by_modality, "local_scale": [0.1, 0.1]}, "crops")
    assert config.scales(None) == ((0.25, 0.25), (0.1, 0.1))
    cut = MultiCrop(config)
    for modality, whole, close in ((None, 0.25, 0.1), ("XR", 0.25, 0.2), ("MR", 0.9, 0.5)):
        for seed in range(10):
            views, details = cut(ramp(256, 256), np.random.default_rng(seed), modality)
            for view, scale in ((views[0], whole), (views[1], whole), (details[0], close)):
                size = len(view)
                grey = view.astype(float)
                shown = (grey[:, -1] - grey[:, 0]).mean() / 252 * 256 * size / (size - 1)
                assert shown == pytest.approx(256 * scale**0.5, rel=0.06, abs=3), modality
    same = {"XR": {"global_scale": [0.25, 0.25]}}
    other = MultiCrop(parse_config(MultiCropConfig, plain | {"by_modality": same}, "crops"))
    named, unnamed = (other(ramp(), np.random.default_rng(1), modality) for modality in ("XR", None))
    assert np.array_equal(named[0], unnamed[0])
    assert np.array_equal(named[1], unnamed[1])


@pytest.mark.parametrize(
    ("by_modality", "told"),
    [
        ({"CT": {}}, r"by_modality\.CT.*'XR' or 'MR'"),
        ({"MR": {"global_scale": [0.9, 0.3]}}, r"by_modality\.MR: .*must not exceed"),
        ({"MR": {"scale": [0.3, 0.9]}}, r"by_modality\.MR\.scale: unknown key"),
    ],
)
def test_wrong_scales_of_a_modality_are_told(by_modality, told):
    with pytest.raises(InputError, match=told):
        parse_config(MultiCropConfig, {"by_modality": by_modality}, "crops")


@pytest.mark.parametrize(("whole", "close"), [(512, 112), (518, 98), (16, 8)])
def test_any_size_can_be_cut(whole, close):
    """512 and 112 pixels for a phase of high resolution; larger than the image, too."""
    image = np.random.default_rng(0).integers(0, 256, (300, 500)).astype(np.uint8)
    cut = MultiCrop(MultiCropConfig(global_size=whole, local_size=close, n_local=3))
    views, details = cut(image, np.random.default_rng(0))
    assert views.shape == (2, whole, whole)
    assert details.shape == (3, close, close)
    assert min(part.std() for part in [*views, *details]) > 1


def test_the_second_view_may_be_of_another_image():
    first, other = np.full((64, 64), 50, np.uint8), np.full((40, 80), 200, np.uint8)
    views, details = MultiCrop(MultiCropConfig(global_size=32, local_size=16))(
        first, np.random.default_rng(0), second=other
    )
    assert (views[0] == 50).all()
    assert (views[1] == 200).all()
    assert (details == 50).all()


def test_crops_are_written_where_they_belong():
    cut = MultiCrop(MultiCropConfig(global_size=32, local_size=16, n_local=3))
    image = np.random.default_rng(0).integers(0, 256, (90, 70)).astype(np.uint8)
    views, details = cut.room(3)
    views[:], details[:] = 7, 7
    cut.into(views[1], details[1], image, np.random.default_rng(4))
    expected = cut(image, np.random.default_rng(4))
    assert np.array_equal(views[1], expected[0])
    assert np.array_equal(details[1], expected[1])
    assert (views[[0, 2]] == 7).all()
    assert (details[[0, 2]] == 7).all()


def test_shrinking_averages_instead_of_aliasing():
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 200
    views, _ = MultiCrop(MultiCropConfig(global_size=32, **PLAIN))(stripes, np.random.default_rng(0))
    assert np.abs(views.astype(int) - 100).max() <= 2


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.05, 0.9))
def test_area_and_place_of_a_crop(seed, scale):
    config = MultiCropConfig(
        global_size=32, global_scale=(scale, scale), aspect=1.0, rotation=0.0, n_local=0, local_size=8
    )
    view = MultiCrop(config)(ramp(256, 256), np.random.default_rng(seed))[0][0].astype(float)
    shown = (view[:, -1] - view[:, 0]).mean() / 252 * 256 * 32 / 31  # columns of the image that the crop spans
    assert shown == pytest.approx(256 * scale**0.5, rel=0.06, abs=3)
    assert view.min() >= 0
    assert view.max() <= 252


def test_same_generator_same_crops():
    image = np.random.default_rng(0).integers(0, 256, (90, 70)).astype(np.uint8)
    cut = MultiCrop(MultiCropConfig(global_size=32, local_size=16, rotation=10.0))
    one, two = cut(image, np.random.default_rng(3)), cut(image, np.random.default_rng(3))
    other = cut(image, np.random.default_rng(4))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


def test_scales_in_the_wrong_order_are_refused():
    with pytest.raises(ValidationError, match="must not exceed"):
        MultiCropConfig(global_scale=(0.9, 0.3))

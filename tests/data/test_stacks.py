"""Series on the surveyed table: stacks, order, planning images, sides."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
from highdicom.spatial import get_series_volume_positions
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.imaging.headers import AXIAL, CORONAL, SAGITTAL, enhanced, header, item, slices, table

from orthoray.data.phantom import PhantomConfig, read_slice_code, write_cohort
from orthoray.data.settle import settle_geometry
from orthoray.data.stack_rules import parallel, passes
from orthoray.data.stacks import find_stacks, localisers, place_sides, settled_geometry
from orthoray.imaging import read_display

COLUMNS = ["stack", "place", "slice_spacing_mm", "geometry", "ascends"]


def at(places, step=3.0):
    """Positions along the normal of a sagittal stack (towards the right)."""
    return [[-step * place, 10, 20] for place in places]


def stacked(rows):
    """The table with stacks found, in the order of the slices."""
    found = find_stacks(rows)
    return rows.assign(**{name: found[name] for name in COLUMNS}).sort_values(["stack", "place", "instance", "frame"])


def sizes(rows):
    """Images per stack, largest first."""
    return sorted(find_stacks(rows).groupby("stack").size(), reverse=True)


def test_shuffled_numbers_do_not_matter():
    rows = stacked(table(slices(at([2, 0, 3, 1]))))
    assert rows["origin_x_mm"].tolist() == [0, -3, -6, -9]
    assert rows["stack"].nunique() == 1
    assert set(rows["slice_spacing_mm"]) == {3.0}
    assert set(rows["geometry"]) == {""}
    assert set(rows["ascends"]) == {"R"}


@pytest.mark.parametrize(
    ("places", "orientation", "notes"),
    [
        ([0, 1, 2, 4], SAGITTAL, "gapped"),
        ([0, 1, 1, 2], SAGITTAL, "duplicate_position"),
        ([0, 1, 2.3, 4], SAGITTAL, "uneven_spacing"),
        ([3, 2, 1, 0], SAGITTAL, "reversed"),
        ([0, 1, 2, 3], [0, -1, 0, 0, 0, -1], "reversed"),
        ([4, 1, 0], SAGITTAL, "gapped+reversed"),
        ([7], SAGITTAL, ""),
    ],
)
def test_what_is_odd_is_told_and_still_in_order(places, orientation, notes):
    rows = stacked(table(slices(at(places), orientation)))
    assert set(rows["geometry"]) == {notes}
    assert rows["stack"].nunique() == 1
    sign = 1 if orientation == SAGITTAL else -1
    assert rows["origin_x_mm"].tolist() == sorted((-3.0 * place for place in places), key=lambda x: -sign * x)


@pytest.mark.parametrize(
    ("geometry", "places", "left"),
    [
        ("duplicate_position", [0, 3, 6], ""),
        ("duplicate_position+gapped", [6, 0, 3], "gapped"),
        ("duplicate_position", [0, 3, 3.005], "duplicate_position"),
        ("reversed", [0, 0], "reversed"),
        ("duplicate_position", [4], ""),
    ],
)
def test_a_duplicate_that_has_left_is_not_told(geometry, places, left):
    assert settled_geometry(geometry, places) == left


def test_images_that_screening_takes_leave_no_duplicate_behind():
    rows = pd.DataFrame({"image_id": list("abcdef"), "place": [0, 3, 3, 0, 3, 3]})
    index = pd.DataFrame({"image_id": list("abdef"), "series_id": list("xxyyy"), "geometry": "duplicate_position"})
    assert settle_geometry(index, rows)["geometry"].tolist() == ["", "", *["duplicate_position"] * 3]


def test_slices_without_a_position_follow_their_number():
    datasets = slices(at([0, 1, 2, 3]), InstanceNumber=[4, 2, 3, 1])
    del datasets[1].ImagePositionPatient
    rows = stacked(table(datasets))
    assert rows["instance"].tolist() == [1, 2, 3, 4]
    assert set(rows["geometry"]) == {"no_geometry"}
    assert rows["slice_spacing_mm"].isna().all()


def test_films_are_not_called_odd():
    found = find_stacks(table([header("CR", InstanceNumber=number) for number in (1, 2)]))
    assert set(found["geometry"]) == {""}


def test_an_empty_table_has_no_stacks():
    rows = table(slices(at([0, 1]))).iloc[:0]
    assert find_stacks(rows).empty
    assert list(find_stacks(rows)) == COLUMNS


@pytest.mark.parametrize(
    "attributes",
    [
        {"EchoTime": [10] * 3 + [20] * 3},
        {"EchoNumbers": [1] * 3 + [2] * 3},
        {"TemporalPositionIdentifier": [1] * 3 + [2] * 3},
        {"AcquisitionNumber": [1] * 3 + [2] * 3},
        {"DiffusionBValue": [0.0] * 3 + [500.0] * 3},
        {"ImageType": [["ORIGINAL", "PRIMARY", kind] for kind in "MMMPPP"]},
        {"PixelSpacing": [[0.5, 0.5]] * 3 + [[0.4, 0.4]] * 3},
        {"Rows": [8] * 3 + [16] * 3},
    ],
)
def test_volumes_at_the_same_positions_are_stacks_of_their_own(attributes):
    rows = stacked(table(slices(at([0, 1, 2, 2, 0, 1]), **attributes)))
    assert sizes(rows) == [3, 3]
    assert set(rows["geometry"]) == {""}
    for _, stack in rows.groupby("stack"):
        assert stack["origin_x_mm"].tolist() == [0, -3, -6]
        assert stack["instance"].max() - stack["instance"].min() <= 2


def test_planes_in_one_series_are_stacks_of_their_own():
    datasets = slices(at([0, 1])) + slices([[0, 3, 0], [0, 0, 0]], CORONAL) + slices([[0, 0, 3], [0, 0, 0]], AXIAL)
    rows = stacked(table(datasets))
    assert sizes(rows) == [2, 2, 2]
    assert rows.groupby("stack")["plane"].nunique().max() == 1


def test_rounded_orientations_do_not_tear_a_stack_apart():
    """Around a cosine of 0.125 a rounding to two decimals would make two stacks."""
    tilt = [0.1249, 0.1251, 0.12501, 0.12499]
    orientations = [[0, math.sqrt(1 - t * t), t, 0, t, -math.sqrt(1 - t * t)] for t in tilt]
    datasets = [slices(at([n]), o, InstanceNumber=n + 1)[0] for n, o in enumerate(orientations)]
    assert sizes(table(datasets)) == [4]


def numbered(passes_of):
    """Images as (acquisition, place) pairs, in the order in which the scanner numbered them."""
    return table(slices(at([p for _, p in passes_of]), AcquisitionNumber=[a for a, _ in passes_of]))


SCANNERS = {
    "a number per slice": ([(n + 1, n) for n in range(6)], [6]),
    "one number": ([(1, n) for n in range(6)], [6]),
    "even and odd slices": ([(1 + n % 2, n) for n in range(6)], [6]),
    "a volume repeated": ([(a, n) for a in (1, 2, 3) for n in range(4)], [4, 4, 4]),
    "a volume repeated, a number per slice": ([(a * 4 + n + 1, n) for a in (0, 1) for n in range(4)], [4, 4]),
    "interleaved and repeated": ([(1 + n % 2 + 2 * r, n) for r in (0, 1) for n in range(4)], [4, 4]),
    "given up and begun again": ([(1, 0), (1, 1), *((2, n) for n in range(5))], [5, 2]),
    "the end repeated": ([*((1, n) for n in range(5)), (2, 3), (2, 4)], [5, 2]),
    "slice by slice": ([(2 * n + r, n) for n in range(4) for r in (1, 2)], [4, 4]),
    "twice the same number": ([(1, n) for n in range(3)] * 2, [6]),
}


@pytest.mark.parametrize("name", SCANNERS)
def test_acquisition_numbers_divide_only_what_lies_at_one_position(name):
    pairs, expected = SCANNERS[name]
    rows = stacked(numbered(pairs))
    assert sizes(rows) == expected
    assert set(rows["geometry"]) == ({"duplicate_position"} if name == "twice the same number" else {""})


def test_a_volume_that_was_given_up_is_not_mixed_with_the_next():
    pairs, _ = SCANNERS["given up and begun again"]
    rows = stacked(numbered(pairs))
    assert rows.groupby("stack")["acquisition"].nunique().max() == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30), st.randoms())
def test_passes_neither_depend_on_order_nor_tear_units_from_positions(visits, random):
    places, units = np.array(visits).T
    found = passes(places, units)
    order = list(range(len(visits)))
    random.shuffle(order)
    assert passes(places[order], units[order]).tolist() == found[order].tolist()
    distinct = {}
    for place, unit, number in zip(places, units, found, strict=True):
        distinct.setdefault((place, number), set()).add(unit)
    assert all(len(units) == 1 for units in distinct.values())  # no position is visited twice in a pass
    most = max(len({u for p, u in visits if p == place}) for place, _ in visits)
    assert len(set(found.tolist())) == most
    assert set(found.tolist()) == set(range(most))


volumes = st.fixed_dictionaries(
    {
        "count": st.integers(2, 8),
        "echoes": st.integers(1, 3),
        "times": st.integers(1, 3),
        "orientation": st.sampled_from([SAGITTAL, CORONAL, AXIAL, [0.6, 0.8, 0, 0, 0, -1]]),
        "seed": st.integers(0, 10_000),
    }
)


def series_of(volume, offset=(0, 0, 0)):
    normal = np.cross(volume["orientation"][:3], volume["orientation"][3:])
    found = []
    for time in range(volume["times"]):
        for echo in range(volume["echoes"]):
            positions = [np.array(offset) + 2.5 * place * normal for place in range(volume["count"])]
            found += slices(positions, volume["orientation"], EchoTime=10.0 + echo, TemporalPositionIdentifier=time + 1,
                            AcquisitionNumber=[7 + place for place in range(volume["count"])])  # fmt: skip
    return table(found)


@pytest.mark.slow
@given(volumes, st.tuples(*[st.integers(-200, 200)] * 3))
@settings(max_examples=25, deadline=None)
def test_neither_the_order_of_rows_nor_the_origin_changes_anything(volume, offset):
    rows = series_of(volume)
    found = find_stacks(rows)
    assert found["stack"].nunique() == volume["echoes"] * volume["times"]
    shuffled = rows.sample(frac=1, random_state=volume["seed"])
    pd.testing.assert_frame_equal(find_stacks(shuffled).loc[rows.index], found)
    moved = find_stacks(series_of(volume, offset))
    for name in ("stack", "geometry", "ascends"):
        assert moved[name].tolist() == found[name].tolist()
    np.testing.assert_allclose(moved["slice_spacing_mm"], found["slice_spacing_mm"], rtol=1e-9)
    ranks = [frame.groupby("stack")["place"].rank().tolist() for frame in (moved, found)]
    assert ranks[0] == ranks[1]


@given(volumes)
@settings(max_examples=15, deadline=None)
def test_order_and_spacing_are_highdicoms(volume):
    volume |= {"echoes": 1, "times": 1}
    normal = np.cross(volume["orientation"][:3], volume["orientation"][3:])
    places = np.random.default_rng(volume["seed"]).permutation(volume["count"])
    datasets = slices([2.5 * place * normal for place in places], volume["orientation"])
    spacing, index = get_series_volume_positions(datasets, index_convention="RD")
    found = find_stacks(table(datasets))
    assert (found["place"].rank() - 1).tolist() == index
    assert found["slice_spacing_mm"].iloc[0] == pytest.approx(spacing)


def frames(positions, orientation=SAGITTAL, **contents):
    """Per-frame macros: position, orientation and frame content."""
    return [
        {
            "PlanePositionSequence": item(ImagePositionPatient=[float(x) for x in position]),
            "PlaneOrientationSequence": item(ImageOrientationPatient=orientation),
            "FrameContentSequence": item(**{name: values[number] for name, values in contents.items()}),
        }
        for number, position in enumerate(positions)
    ]


def test_frames_of_an_enhanced_object_by_stack_and_time():
    groups = frames(at([1, 0, 0, 1, 0, 1]), StackID=["1", "1", "1", "1", "2", "2"],
                    TemporalPositionIndex=[1, 1, 2, 2, 1, 1])  # fmt: skip
    rows = stacked(table([enhanced(groups)]))
    assert sizes(rows) == [2, 2, 2]
    assert sorted(rows.groupby("stack")["frame"].apply(list)) == [[1, 0], [2, 3], [4, 5]]


def test_a_film_of_one_position_is_one_stack_in_time():
    groups = frames(at([0, 0, 0, 0]), TemporalPositionIndex=[3, 1, 4, 2])
    rows = stacked(table([enhanced(groups)]))
    assert rows["frame"].tolist() == [1, 3, 0, 2]
    assert set(rows["geometry"]) == {"cine"}


def test_frames_without_geometry_follow_their_number_in_the_stack():
    groups = [{"FrameContentSequence": item(StackID="1", InStackPositionNumber=n)} for n in (3, 1, 2)]
    rows = stacked(table([enhanced(groups)]))
    assert rows["frame"].tolist() == [1, 2, 0]
    assert set(rows["geometry"]) == {"no_geometry"}


def test_groups_of_orientations_are_within_a_degree():
    def turned(degrees):
        angle = math.radians(degrees)
        return [math.cos(angle), math.sin(angle), 0, 0, 0, -1]

    groups, found = parallel(np.array([turned(0), turned(0.5), turned(90), turned(2), turned(90.4)]))
    assert len(found) == 3
    assert groups[0] == groups[1] != groups[2] == groups[4]
    assert groups[3] not in (groups[0], groups[2])


def judged(rows):
    return localisers(rows, find_stacks(rows)).tolist()


def test_planes_of_several_directions_serve_to_plan():
    three = slices(at([0, 1])) + slices([[0, 0, 0]], CORONAL) + slices([[0, 0, 0]], AXIAL)
    assert judged(table(three)) == ["several_planes"] * 4
    opposite = slices(at([0, 1])) + slices(at([2]), [0, -1, 0, 0, 0, -1])
    assert judged(table(opposite)) == [""] * 3
    near = slices(at([0, 1])) + slices(at([2]), [0, 0.98, 0.199, 0, 0.199, -0.98])
    assert judged(table(near)) == [""] * 3
    series = [copy.deepcopy(dataset) for dataset in three]
    for number, dataset in enumerate(series):
        dataset.SeriesInstanceUID = f"2.25.5{number}"
    assert judged(table(series)) == [""] * 4


def test_reformats_of_several_directions_are_no_planning_images():
    three = slices(at([0, 1]), ImageType=["DERIVED", "SECONDARY", "MPR"])
    three += slices([[0, 0, 0]], CORONAL, ImageType=["DERIVED", "SECONDARY", "MPR"])
    assert judged(table(three)) == [""] * 3


@pytest.mark.parametrize(
    ("count", "step", "thickness", "reason"),
    [(3, 20, 5, "few_slices"), (5, 10, 5, "few_slices"), (6, 20, 5, ""), (3, 9, 5, ""), (1, 20, 5, ""),
     (3, 20, None, "few_slices"), (3, 9, None, ""), (4, 20, 20, "")],
)  # fmt: skip
def test_few_slices_with_large_gaps_serve_to_plan(count, step, thickness, reason):
    extra = {"SliceThickness": thickness} if thickness else {}
    assert judged(table(slices(at(range(count), step), **extra))) == [reason] * count


def sides(datasets):
    rows = table(datasets)
    found = find_stacks(rows)
    return place_sides(rows, rows["series_id"] + found["stack"])


@given(st.floats(-250, 250), st.sampled_from([SAGITTAL, CORONAL, AXIAL]))
@settings(max_examples=30, deadline=None)
def test_mirroring_x_swaps_the_side_of_a_stack(x, orientation):
    def found(centre):
        # the corner from which the middle of the image lies at x = centre
        half = 3.5 * 0.5 * orientation[0]
        normal = np.cross(orientation[:3], orientation[3:])
        positions = [np.array([centre - half, 0, 0]) + (place - 1) * 3 * normal for place in range(3)]
        return sides(slices(positions, orientation))

    one, other = found(x), found(-x)
    swap = {"L": "R", "R": "L", "U": "U"}
    assert other["laterality"].tolist() == [swap[side] for side in one["laterality"]]
    if abs(x) > 20.1:
        assert set(one["laterality"]) == {"L" if x > 0 else "R"}
        assert set(one["laterality_source"]) == {"position"}
        assert set(one["laterality_confidence"]) == {0.5}
    if abs(x) < 19.9:
        assert set(one["laterality"]) == {"U"}


def test_one_stack_has_one_side_although_its_slices_lie_on_both():
    found = sides(slices(at(range(-30, 12), 3.0)))
    assert set(found["laterality"]) == {"L"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"Laterality": "R"},
        {"SeriesDescription": "rt knee"},
        {"Laterality": "R", "SeriesDescription": "left knee"},
        {"BodyPartExamined": "HEAD"},
    ],
)
def test_position_does_not_overrule_header_text_and_contradictions(attributes):
    datasets = slices(at([-40, -41]), **attributes)  # 120 mm to the left
    rows = table(datasets)
    pd.testing.assert_frame_equal(sides(datasets), rows[["laterality", "laterality_source", "laterality_confidence"]])


@pytest.mark.slow
def test_bar_codes_of_shuffled_phantom_slices_ascend(tmp_path):
    write_cohort(tmp_path, PhantomConfig(patients=4, slices=9, mr_size=64, modalities=("MR",), monochrome1=0,
                                         unreadable=0, localisers=1, knee_mri=0.5))  # fmt: skip
    files = sorted(tmp_path.rglob("*.dcm"))
    np.random.default_rng(0).shuffle(files)
    rows = read_table(files)
    rows = stacked(rows[rows["kind"] == ""])
    codes = rows.assign(code=[read_slice_code(read_display(file)[0]) for file in rows["file"]])
    stacks = codes.groupby(["series_id", "stack"])["code"].apply(list).tolist()
    assert len(stacks) >= 3
    assert stacks == [list(range(9))] * len(stacks)
    assert set(rows["geometry"]) == {""}
    np.testing.assert_allclose(rows["slice_spacing_mm"], 80 / 9, atol=0.01)


def read_table(files):
    import pydicom

    rows = table([pydicom.dcmread(file, stop_before_pixels=True) for file in files])
    return rows.assign(file=[str(files[int(name[:4])]) for name in rows["file"]])


def real(folder, pattern):
    rows = read_table(sorted(folder.glob(pattern)))
    return stacked(rows.sample(frac=1, random_state=5))


@pytest.mark.slow
@pytest.mark.data
def test_a_multi_echo_knee_is_eight_stacks_of_24(shared_data):
    rows = real(shared_data("dicom-knee-mri") / "original", "*.dcm")
    assert rows.groupby("stack").size().tolist() == [24] * 8
    assert rows.groupby("stack")["echo_time_ms"].nunique().max() == 1
    assert set(rows["geometry"]) == {""}
    np.testing.assert_allclose(rows["slice_spacing_mm"], 4.0, atol=1e-3)
    for _, stack in rows.groupby("stack"):
        assert np.ptp(np.diff(stack["origin_x_mm"])) < 0.01
        assert (np.diff(stack["origin_x_mm"]) < -3.9).all()


@pytest.mark.data
def test_a_wrist_is_one_stack_and_its_side_stands_in_the_study(shared_data):
    rows = real(shared_data("dicom-wrist-mri"), "*.dcm")
    assert rows.groupby("stack").size().tolist() == [16]
    assert set(rows["laterality"] + rows["laterality_source"]) == {"Ldescription"}
    assert (np.diff(rows["origin_y_mm"]) > 0).all()
    np.testing.assert_allclose(rows["slice_spacing_mm"], 2.0, atol=1e-3)
    np.testing.assert_allclose(rows["field_strength_t"], 1.5015)
    silent = rows.assign(laterality="U", laterality_source="", laterality_confidence=0.0)
    assert set(place_sides(silent, silent["stack"])["laterality"]) == {"L"}  # its position says the same


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "counts", "geometry"),
    [
        ("mr-moving-knee-19f", [19], {"cine"}),
        ("enhanced-mr-philips-phantom", [32, 32], {""}),
        ("enhanced-mr-siemens-xa10", [6], {""}),
        ("emri_small", [10], {"no_geometry"}),
    ],
)
def test_enhanced_files(shared_data, file, counts, geometry):
    rows = real(shared_data("dicom-misc") / "multiframe", f"{file}.dcm")
    assert rows.groupby("stack").size().tolist() == counts
    assert set(rows["geometry"]) == geometry
    for _, stack in rows.groupby("stack"):
        assert np.all(np.diff(stack["frame"]) == 1)
    if file == "mr-moving-knee-19f":
        assert rows["temporal"].tolist() == list(range(1, 20))
        assert set(rows["kind"]) == {""}  # its description only speaks of a localiser
        assert set(rows["laterality"]) == {"R"}
    if "philips" in file:
        assert sorted(rows.groupby("stack")["kind"].first()) == ["", "derived"]

import json
import pickle

import cv2
import numpy as np
import pytest

from egojax.data import arrays, visor
from egojax.errors import UsageError


def entry(name, class_id, *polygons):
    return {"name": name, "class_id": class_id, "segments": list(polygons)}


def box(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def test_a_polygon_covers_its_border_after_cutting_its_vertices():
    found = visor.rasterize([entry("pan", 5, box(1.9, 1.2, 5.7, 3.9))], (6, 8))
    expected = np.full((6, 8), -1)
    expected[1:4, 1:6] = 5
    np.testing.assert_array_equal(found, expected)
    assert (found == 5).sum() == 15


def test_later_classes_cover_earlier_ones_and_repeats_are_ignored():
    tap, plate = entry("tap", 0, box(0, 0, 7, 2)), entry("plate", 2, box(2, 1, 5, 4))
    again = entry("tap", 0, box(0, 5, 7, 5))
    expected = np.full((6, 8), -1)
    expected[:3], expected[1:5, 2:6] = 0, 2
    np.testing.assert_array_equal(
        visor.rasterize([tap, plate, again], (6, 8)), expected
    )


def test_the_union_takes_the_larger_class():
    extended = np.array([[0, 0, 300, 300], [7, 7, 300, 0]])
    original = np.array([[-1, -1, 2, 2], [2, -1, 301, 0]])
    expected = [[0, 0, 300, 300], [7, 7, 301, 0]]
    np.testing.assert_array_equal(visor.union(extended, original), expected)
    large = np.kron(original, np.ones((2, 2), int))
    np.testing.assert_array_equal(visor.union(extended, large), expected)


@pytest.mark.parametrize("seed", range(8))
def test_polygons_of_any_map_fill_into_that_map(seed):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(40, 60)), (0, 0), 0.4 + 0.3 * seed)
    classes = np.digitize(noise, np.quantile(noise, [0.3, 0.5, 0.8])) - 1
    names = {0: "tap", 1: "spoon", 2: "plate"}
    entries = visor.polygons(classes, names)
    assert [e["name"] for e in entries] == ["tap", "spoon", "plate"]
    found = visor.rasterize(entries[::-1], (40, 60))  # Whatever the order.
    np.testing.assert_array_equal(found, classes)


def test_an_empty_map_has_no_polygons():
    assert visor.polygons(np.full((3, 4), -1), {}) == []


def test_written_annotations_come_back(tmp_path):
    classes = np.full((6, 8), -1, np.int32)
    classes[1:5, 1:6], classes[2:4, 2:4] = 5, 300
    path = tmp_path / "a.json"
    entry = visor.annotate("P01_01", "000012", classes, {5: "pan", 300: "left hand"})
    visor.write_annotations(path, (6, 8), [entry])
    found = visor.read_annotations(path)
    assert found.frame_ids == ("000012",)
    assert found.classes == {"pan": 5, "left hand": 300}
    np.testing.assert_array_equal(found.maps[0], classes)


def document(*rows, details="at 8x6 resolution"):
    return {"info": {"details": details}, "video_annotations": list(rows)}


def image(number, *annotations):
    name = f"P01_01_frame_{number:010d}.png"
    return {"image": {"name": name}, "annotations": list(annotations)}


def test_frames_are_sorted_named_and_mapped(tmp_path):
    path, table = tmp_path / "a.json", tmp_path / "frame_mapping.json"
    pan = entry("pan", 5, box(0, 0, 1, 1))
    path.write_text(json.dumps(document(image(937, pan), image(2))))
    new = {"P01_01": {"P01_01_frame_0000000937.jpg": "frame_0000000001.jpg"}}
    table.write_text(json.dumps(new))
    names, maps, classes, size_hw = visor.read_annotations(path)
    assert size_hw == (6, 8)
    assert names == ("frame_0000000002", "frame_0000000937")
    assert (maps[1] == 5).sum() == 4
    assert maps[0].shape == (6, 8)
    assert classes == {"pan": 5}
    assert visor.read_annotations(path, table)[0][0] == "frame_0000000001"


def test_a_vocabulary_leaves_out_hands_late_frames_and_slashes(tmp_path):
    pan, hand = entry("pan", 5, box(0, 0, 1, 1)), entry("left hand", 300)
    hob, late = entry("hob/stove", 24), entry("egg", 60)
    rows = [image(12, pan, hand, hob), image(20000, late)]
    (tmp_path / "a.json").write_text(json.dumps(document(*rows)))
    found = visor.vocabulary(tmp_path / "a.json")
    assert found["class_names"] == ["egg", "hob/stove", "pan"]
    assert found["class_names_20k"] == ["hob/stove", "pan"]
    assert found["class_names_20k_filtered"] == ["pan"]
    assert found["n_frames_20k"] == 1
    assert found["visor"][0]["class2id"] == {"pan": 5, "hob/stove": 24}
    assert "segments" not in found["visor"][0]["annotations"][0]
    arrays.write_json(tmp_path / "classes.json", found)
    (tmp_path / "classes.pt").write_bytes(pickle.dumps(found, protocol=2))
    for name in ("classes.json", "classes.pt"):
        table = visor.read_vocabulary(tmp_path / name)
        assert table == {"pan": 5, "hob/stove": 24, "egg": 60}


BAD_VOCABULARIES = [
    b"[]",
    b"{}",
    b'{"visor": [{}]}',
    b'{"visor": [{"class2id": []}]}',
    b'{"visor": [{"class2id": {"pan": "5"}}]}',
    b'{"visor": [{"class2id": {"pan": -1}}]}',
    b"cbuiltins\neval\n.",
]


@pytest.mark.parametrize("data", BAD_VOCABULARIES)
@pytest.mark.parametrize("suffix", [".json", ".pt"])
def test_a_bad_vocabulary_is_told_in_one_line(tmp_path, data, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    with pytest.raises(UsageError) as err:
        visor.read_vocabulary(path)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)


@pytest.mark.parametrize("table", [[], {"P01_01": 3}, {"P01_01": {"a": "../b"}}])
def test_a_bad_table_of_names_is_told(tmp_path, table):
    (tmp_path / "a.json").write_text(json.dumps(document()))
    path = tmp_path / "frame_mapping.json"
    path.write_text(json.dumps(table))
    with pytest.raises(UsageError, match=r"frame_mapping\.json: expected"):
        visor.read_annotations(tmp_path / "a.json", path)


BAD = [
    [],
    {"video_annotations": 1},
    document(details="large"),
    document(details="0x5"),
    document({"image": {}}),
    document(image(1, {"name": "pan"})),
    document(image(1, entry("pan", -4))),
    document(image(1, entry("pan", 1, [[1, 2], [3]]))),
    document(image(1, entry("pan", 1, box(0, 0, float("nan"), 1)))),
    document(image(1, entry("pan", 1, box(0, 0, 1e30, 1)))),
    document(image(1, entry("pan", 1, [1, 2, 3, 4]))),
    document(image(1, entry("pan", 1, [[1, 2, 3]]))),
    document(image(1, entry("pan", 1, "box"))),
    document(image(1, entry("pan", "1"))),
    document(image(1, entry("pan", 1.5))),
    document(image(1, entry("pan", True))),
    document(image(1, entry("pan", 10**20))),
    document(image(1, entry(7, 1))),
    document({"image": {"name": "../../a.png"}, "annotations": []}),
    document({"image": {"name": 5}, "annotations": []}),
    document({"image": {"name": "a.png"}, "annotations": None}),
    document(details="at 99999x99999 resolution"),
]


@pytest.mark.parametrize("data", BAD)
def test_a_bad_annotation_file_is_told(tmp_path, data):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError) as err:
        visor.read_annotations(path)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)

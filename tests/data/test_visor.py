import json

import numpy as np
import pytest

from egojax.data import visor
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
    names, maps, classes = visor.read_annotations(path)
    assert names == ("frame_0000000002", "frame_0000000937")
    assert (maps[1] == 5).sum() == 4
    assert maps[0].shape == (6, 8)
    assert classes == {"pan": 5}
    assert visor.read_annotations(path, table)[0][0] == "frame_0000000001"


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
]


@pytest.mark.parametrize("data", BAD)
def test_a_bad_annotation_file_is_told(tmp_path, data):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError) as err:
        visor.read_annotations(path)
    assert all(line.startswith(f"{path}: ") for line in str(err.value).splitlines())

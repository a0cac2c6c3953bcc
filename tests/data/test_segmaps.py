import json

import numpy as np
import pytest

from egojax.data import arrays, segmaps
from egojax.errors import FrameError, UsageError
from egojax.types import Clip, Segments, Source, TrackTable

HW = (6, 8)
LABELS = np.zeros((2, *HW), np.int32)
LABELS[:, 1:4, 2:5], LABELS[1, 4:, 6:] = 300, 70000
FRAMES = ("frame_0000000001", "frame_0000000006")
NAMES = ("tap", "pan")
CLIP = Clip("P01_01", FRAMES, HW, category_names=NAMES, labels=Source.of(LABELS))
TABLE = TrackTable(
    frame_idx=np.array([0, 1, 1]), segment_id=np.array([300, 300, 70000]),
    track_id=np.array([1, 1, 0]), category=np.array([0, 1, 0]),
    score=np.zeros(3), confidence=np.zeros(3), location=np.full((3, 3), 2.0),
    centroid_xy=np.zeros((3, 2)), area=np.zeros(3, int),
)  # fmt: skip


def listed(folder):
    data = json.loads((folder / "pred.json").read_text())
    return {row["file_name"]: row["segments_info"] for row in data["annotations"]}


def test_written_tracks_are_the_official_files(tmp_path):
    segmaps.write_tracks(tmp_path, CLIP, TABLE, {"alpha": 30})
    raw = tmp_path / "Annotations" / "Raw"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "Annotations", "args.json", "pred.json"
    ]  # fmt: skip
    assert sorted(p.name for p in raw.iterdir()) == [f"{f}.npy" for f in FRAMES]
    found = np.load(raw / f"{FRAMES[1]}.npy")
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, LABELS[1] == 300)
    # The category is that of the track's last observation.
    assert listed(tmp_path)[f"{FRAMES[0]}.jpg"] == [
        {"category_id": 1, "id": 1, "loc3d": [2, 2, 2]}
    ]
    assert json.loads((tmp_path / "args.json").read_text()) == {"alpha": 30}


def test_written_tracks_are_read_as_a_tree(tmp_path):
    segmaps.write_tracks(tmp_path, CLIP, TABLE, {})
    tree = segmaps.read_tree(tmp_path)
    assert (tree.frame_ids, tree.category_names, tree.size_hw) == (FRAMES, NAMES, HW)
    np.testing.assert_array_equal(tree.labels[1], LABELS[1] == 300)
    assert tree.segments[0].category.tolist() == [1]
    assert tree.segments[0].score.tolist() == [1]


def test_a_frame_without_tracks_gets_zeros_and_a_bad_one_none(tmp_path):
    def read(t):
        if t == 1:
            raise FrameError("gone")

    empty = CLIP.replace(labels=Source(read, 2))
    segmaps.write_tracks(tmp_path, empty, TABLE, {})
    raw = tmp_path / "Annotations" / "Raw"
    assert not np.load(raw / f"{FRAMES[0]}.npy").any()
    assert not (raw / f"{FRAMES[1]}.npy").exists()
    tree = segmaps.read_tree(tmp_path)
    with pytest.raises(FrameError, match=FRAMES[1]):
        tree.labels[1]


def test_segments_that_share_a_track_are_one_object(tmp_path):
    table = TrackTable(**{**vars(TABLE), "track_id": np.array([1, 2, 2])})
    segmaps.write_tracks(tmp_path, CLIP, table, {})
    assert [row["id"] for row in listed(tmp_path)[f"{FRAMES[1]}.jpg"]] == [2]
    raw = tmp_path / "Annotations" / "Raw" / f"{FRAMES[1]}.npy"
    np.testing.assert_array_equal(np.load(raw) == 2, LABELS[1] > 0)


def test_a_place_that_is_not_known_is_null(tmp_path):
    table = TrackTable(**{**vars(TABLE), "location": np.full((3, 3), np.nan)})
    segmaps.write_tracks(tmp_path, CLIP, table, {})
    assert listed(tmp_path)[f"{FRAMES[0]}.jpg"][0]["loc3d"] == [None] * 3


def test_a_clip_without_labels_has_no_tracks_to_write(tmp_path):
    with pytest.raises(UsageError, match="no labels to write"):
        segmaps.write_tracks(tmp_path, CLIP.replace(labels=None), TABLE, {})


def test_null_categories_and_scores_of_the_2d_tracker_are_unknown_and_one(tmp_path):
    info = {"id": 300, "category_id": None, "score": None, "area": 9}
    writer = segmaps.TreeWriter(tmp_path, NAMES)
    writer.add("a", LABELS[0], [info])
    writer.close()
    rows = segmaps.read_tree(tmp_path).segments[0]
    assert (rows.category.tolist(), rows.score.tolist()) == ([-1], [1])


def test_the_last_listing_of_an_id_gives_its_category():
    def rows(ids, kinds):
        score = np.arange(len(ids), dtype=np.float32)
        return Segments(np.array(ids), np.array(kinds, np.int32), score)

    given = Source.of([rows([7, 9], [0, 1]), None, rows([7], [2])])
    found = segmaps.last_categories(given)
    assert found[0].category.tolist() == [2, 1]
    assert found[0].score.tolist() == [0, 1]
    assert found[1] is None


SEGMENT = {"id": 5, "category_id": 0}
ONE = {"file_name": "a.jpg", "segments_info": [SEGMENT]}


def with_segment(**changes):
    return {"annotations": [{**ONE, "segments_info": [{**SEGMENT, **changes}]}]}


BAD = {
    "a list": [],
    "no frame": {"annotations": []},
    "no list": {"annotations": 3},
    "twice": {"annotations": [ONE, ONE]},
    "two suffixes": {"annotations": [ONE, {**ONE, "file_name": "a.png"}]},
    "no segments": {"annotations": [{"file_name": "a.jpg"}]},
    "segments of text": {"annotations": [{**ONE, "segments_info": "abc"}]},
    "a name outside": {"annotations": [{**ONE, "file_name": "../../a.jpg"}]},
    "an absolute name": {"annotations": [{**ONE, "file_name": "/etc/passwd"}]},
    "a number as name": {"annotations": [{**ONE, "file_name": 3}]},
    "id 0": with_segment(id=0),
    "id of a fraction": with_segment(id=5.5),
    "id of text": with_segment(id="5"),
    "id of 40 digits": with_segment(id=10**40),
    "one id twice": {"annotations": [{**ONE, "segments_info": [SEGMENT, SEGMENT]}]},
    "unknown category": with_segment(category_id=9),
    "category of text": with_segment(category_id="tap"),
    "score above 1": with_segment(score=7),
    "score of NaN": with_segment(score=float("nan")),
    "score of text": with_segment(score="high"),
    "score of a list": with_segment(score=[1, 2]),
    "gaps in categories": {"annotations": [ONE], "category_name2id": {"tap": 4}},
    "mixed categories": {
        "annotations": [ONE], "category_name2id": {"tap": 0, "pan": "1"}
    },
    "categories as a list": {"annotations": [ONE], "category_name2id": ["tap"]},
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_prediction_file_is_told_in_one_line(tmp_path, what):
    data = BAD[what]
    if isinstance(data, dict):
        data = {"category_name2id": {"tap": 0}, **data}
    path = tmp_path / "pred.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError) as err:
        segmaps.read_tree(tmp_path)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)


def test_all_problems_of_a_prediction_file_are_told_at_once(tmp_path):
    bad = [{**ONE, "segments_info": 3}, ONE, {"segments_info": []}]
    data = {"category_name2id": {"tap": 0}, "annotations": bad}
    (tmp_path / "pred.json").write_text(json.dumps(data))
    with pytest.raises(UsageError) as err:
        segmaps.read_tree(tmp_path)
    first, second = str(err.value).splitlines()
    assert "annotations[0]: " in first
    assert "annotations[2]: no 'file_name'" in second


def test_a_tree_without_a_readable_map_is_told(tmp_path):
    data = {"category_name2id": {"tap": 0}, "annotations": [ONE]}
    arrays.write_json(tmp_path / "pred.json", data)
    with pytest.raises(UsageError, match="none of 1 frames can be read"):
        segmaps.read_tree(tmp_path)

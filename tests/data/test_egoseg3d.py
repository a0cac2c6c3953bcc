import json

import numpy as np
import pytest

from egojax.data import egoseg3d
from egojax.errors import FrameError, UsageError
from egojax.types import (
    Camera,
    Clip,
    Mesh,
    SegmentFeatures,
    Segments,
    Source,
    TrackTable,
)

HW = (6, 8)
LABELS = np.zeros((2, *HW), np.int32)
LABELS[:, 1:4, 2:5], LABELS[1, 4:, 6:] = 300, 70000
FRAMES = ("frame_0000000001", "frame_0000000006")


def rows(ids, category):
    return Segments(
        np.array(ids, np.int64),
        np.array(category, np.int32),
        np.full(len(ids), 0.5, np.float32),
    )


@pytest.fixture
def clip():
    k = np.array([[9.0, 0, 4], [0, 9, 3], [0, 0, 1]])
    segments = Source.of([rows([300], [1]), rows([300, 70000], [1, 0])])
    base = Clip("P01_01", FRAMES, HW, category_names=("tap", "pan"), metric_scale=1.25)
    base = base.replace(labels=Source.of(LABELS), segments=segments)
    ids = np.array([300])
    return base.replace(
        truth=base,
        frames=Source.of(np.full((2, *HW, 3), 90, np.uint8)),
        depth=Source.of(np.full((2, *HW), 2.5, np.float32)),
        static_depth=Source.of(np.full((2, *HW), np.inf, np.float32)),
        features=Source.of([SegmentFeatures(ids, np.ones((1, 5), np.float32))] * 2),
        camera=Source.of([Camera(k, np.eye(4), None, HW)] * 2),
        points=np.ones((3, 3)),
        mesh=Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32)),
    )


def test_a_written_clip_comes_back(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    assert egoseg3d.videos(tmp_path) == ("P01_01",)
    found = egoseg3d.read_clip(tmp_path, "P01_01")
    assert (found.frame_ids, found.size_hw, found.notes) == (FRAMES, HW, ())
    assert found.metric_scale == 1.25
    for layer in ("labels", "depth", "static_depth", "frames"):
        for a, b in zip(found.sources[layer], clip.sources[layer], strict=True):
            np.testing.assert_allclose(a, b, atol=1)
    np.testing.assert_array_equal(found.segments[1].category, [1, 0])
    np.testing.assert_array_equal(found.features[0].values, np.ones((1, 5)))
    np.testing.assert_allclose(found.camera[1].intrinsics, clip.camera[1].intrinsics)
    np.testing.assert_array_equal(found.mesh.faces, clip.mesh.faces)
    np.testing.assert_array_equal(found.truth.segments[1].category, [0, 1])
    assert set(np.unique(found.truth.labels[1])) == {0, 2, 3}


def test_written_tracks_are_read_as_a_tree(tmp_path, clip):
    n = np.arange(3)
    table = TrackTable(
        frame_idx=np.array([0, 1, 1]), segment_id=np.array([300, 300, 70000]),
        track_id=np.array([1, 1, 0]), category=np.array([0, 1, 0]),
        score=n * 0.1, confidence=n * 0.1, location=np.full((3, 3), 2.0),
        centroid_xy=np.zeros((3, 2)), area=n,
    )  # fmt: skip
    egoseg3d.write_tracks(tmp_path, clip, table, {"alpha": 30})
    frames, labels, segments = egoseg3d.read_tree(tmp_path)
    assert frames == FRAMES
    np.testing.assert_array_equal(labels[1], LABELS[1] == 300)
    assert segments[0].category.tolist() == [1]
    raw = np.load(tmp_path / "Annotations" / "Raw" / f"{FRAMES[0]}.npy")
    assert raw.dtype == np.uint32
    info = json.loads((tmp_path / "pred.json").read_text())["annotations"][0]
    assert info["segments_info"][0]["loc3d"] == [2, 2, 2]
    assert json.loads((tmp_path / "args.json").read_text()) == {"alpha": 30}


def test_layers_that_are_not_there_are_told(tmp_path, clip):
    bare = Clip(clip.name, FRAMES, HW, category_names=clip.category_names)
    bare = bare.replace(labels=clip.labels, segments=clip.segments)
    egoseg3d.write_clip(tmp_path, bare)
    found = egoseg3d.read_clip(tmp_path, "P01_01")
    assert len(found.notes) == 6
    assert found.truth is None


def test_a_single_bad_map_spoils_its_frame_alone(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    home = tmp_path / "P01" / "P01_01"
    for path in home.rglob(f"{FRAMES[1]}*.npy"):
        path.write_bytes(b"rubbish")
    found = egoseg3d.read_clip(tmp_path, "P01_01")
    for layer in (found.labels, found.depth, found.features, found.truth.labels):
        assert layer[0] is not None
        with pytest.raises(FrameError, match=FRAMES[1]):
            layer[1]


SEGMENT = {"id": 5, "category_id": 0}
ONE = {"file_name": "a.jpg", "segments_info": [SEGMENT]}
BAD = [
    [],
    {"annotations": []},
    {"annotations": 3},
    {"annotations": [ONE, ONE]},
    {"annotations": [{"file_name": "a.jpg"}]},
    {"annotations": [{**ONE, "segments_info": [{"id": 0, "category_id": 0}]}]},
    {"annotations": [{**ONE, "segments_info": [SEGMENT, SEGMENT]}]},
    {"annotations": [{**ONE, "segments_info": [{**SEGMENT, "category_id": 9}]}]},
    {"annotations": [{**ONE, "segments_info": [{**SEGMENT, "score": 7}]}]},
    {"annotations": [ONE], "category_name2id": {"tap": 4}},
]


@pytest.mark.parametrize("data", BAD)
def test_a_bad_prediction_file_is_told(tmp_path, data):
    if isinstance(data, dict):
        data = {"category_name2id": {"tap": 0}, **data}
    (tmp_path / "pred.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match=r"pred\.json"):
        egoseg3d.read_tree(tmp_path)

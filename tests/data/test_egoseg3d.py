import json
import pickle
import shutil

import numpy as np
import pytest

from egojax.data import egoseg3d, visor
from egojax.errors import FrameError, UsageError
from egojax.types import Camera, Clip, Mesh, SegmentFeatures, Segments, Source

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
        mesh=Mesh(
            np.eye(3, dtype=np.float32),
            np.array([[0, 1, 2]], np.int32),
            np.array([[9, 8, 7], [6, 5, 4], [3, 2, 1]], np.uint8),
        ),
        streams={"aligned_depth": Source.of(np.full((2, *HW), 2.25))},
    )


def test_a_written_clip_comes_back(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    assert egoseg3d.videos(tmp_path) == ("P01_01",)
    found = egoseg3d.read_clip(tmp_path, "P01_01")
    assert (found.frame_ids, found.size_hw, found.notes) == (FRAMES, HW, ())
    assert found.fps == 12  # Every fifth frame of 60 a second.
    assert found.metric_scale == 1.25
    for layer in ("labels", "depth", "static_depth", "frames"):
        for a, b in zip(found.sources[layer], clip.sources[layer], strict=True):
            np.testing.assert_allclose(a, b, atol=1)
    np.testing.assert_array_equal(found.segments[1].category, [1, 0])
    np.testing.assert_array_equal(found.features[0].values, np.ones((1, 5)))
    np.testing.assert_allclose(found.camera[1].intrinsics, clip.camera[1].intrinsics)
    np.testing.assert_array_equal(found.mesh.faces, clip.mesh.faces)
    np.testing.assert_array_equal(found.mesh.colors, clip.mesh.colors)
    np.testing.assert_array_equal(found.streams["aligned_depth"][1], 2.25)
    np.testing.assert_array_equal(found.truth.segments[1].category, [0, 1])
    assert set(np.unique(found.truth.labels[1])) == {0, 2, 3}
    home = tmp_path / "P01" / "P01_01"
    aligned = np.load(home / f"aligned_depth/default/{FRAMES[0]}_depth.npy")
    assert aligned.dtype == np.float64
    (row,) = json.loads((home / "segmaps/deva_OWLv2_s5/pred.json").read_text())[
        "annotations"
    ][0]["segments_info"]
    assert row == {"id": 300, "category_id": 1, "score": 0.5, "area": 9}


@pytest.mark.parametrize("form", ["visor_DEVA100_segmaps", "visor_segmaps", "polygons"])
def test_all_three_forms_of_the_truth_say_the_same(tmp_path, clip, form):
    egoseg3d.write_clip(tmp_path, clip)
    found = egoseg3d.read_clip(tmp_path, "P01_01", truth=form)
    assert not any("truth" in note for note in found.notes)
    expected = np.zeros(HW, int)
    expected[1:4, 2:5], expected[4:, 6:] = 3, 2  # Class of pan 2, of tap 1; plus 1.
    np.testing.assert_array_equal(found.truth.labels[1], expected)
    np.testing.assert_array_equal(found.truth.segments[1].category, [0, 1])


def test_frames_without_annotation_have_no_truth(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    folder = tmp_path / "P01" / "P01_01" / "visor_DEVA100_segmaps"
    (folder / f"{FRAMES[0]}.npy").unlink()
    found = egoseg3d.read_clip(tmp_path, "P01_01")
    assert found.truth.labels[0] is None
    assert found.truth.segments[0] is None
    (note,) = found.notes
    assert note.startswith("truth: ") and "nothing for 1 frames" in note


def test_a_frame_without_segments_gets_an_empty_map(tmp_path, clip):
    bare = clip.replace(
        labels=Source.of([LABELS[0], None]),
        segments=Source.of([clip.segments[0], None]),
    )
    egoseg3d.write_clip(tmp_path, bare, truth="visor_segmaps")
    found = egoseg3d.read_clip(tmp_path, "P01_01", truth="visor_segmaps")
    assert not found.labels[1].any()
    assert len(found.segments[1].ids) == 0
    assert set(np.unique(found.truth.labels[1])) == {0, 2, 3}


def official_truth(root, folder, values, classes):
    home = root / "P01" / "P01_01"
    for name in ("visor_DEVA100_segmaps", "visor_segmaps"):
        shutil.rmtree(home / name)
    (home / folder).mkdir()
    for frame in FRAMES:
        np.save(home / folder / f"{frame}.npy", values)
    (root / "visor" / "P01_01_classes.json").unlink()
    data = {"visor": [{"class2id": classes}], "class_names": {*classes}}
    path = root / "visor" / "P01_01_classes.pt"
    path.write_bytes(pickle.dumps(data, protocol=2))


def test_a_tap_is_a_class_of_its_own_but_for_extended_maps(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    classes = {"tap": 0, "pan": 5}
    values = np.full(HW, -1, np.int32)
    values[0], values[1] = 0, 5
    official_truth(tmp_path, "visor_segmaps", values, classes)
    found = egoseg3d.read_clip(tmp_path, "P01_01", truth="visor_segmaps")
    np.testing.assert_array_equal(found.truth.segments[0].ids, [1, 6])
    np.testing.assert_array_equal(found.truth.segments[0].category, [0, 1])
    assert found.notes == ()
    home = tmp_path / "P01/P01_01"
    shutil.move(home / "visor_segmaps", home / "my_truth")
    found = egoseg3d.read_clip(tmp_path, "P01_01", truth="my_truth")
    np.testing.assert_array_equal(found.truth.segments[0].ids, [1, 6])  # By its -1.
    for frame in FRAMES:
        np.save(home / "my_truth" / f"{frame}.npy", np.maximum(values, 0))
    found = egoseg3d.read_clip(tmp_path, "P01_01", truth="my_truth")
    np.testing.assert_array_equal(found.truth.segments[0].ids, [6])
    assert visor.TAP_DEFECT in found.notes[0]
    bug = egoseg3d.read_clip(tmp_path, "P01_01", truth="my_truth", tap_bug=True)
    assert (np.asarray(bug.truth.labels[0])[2:] == 1).all()


def test_two_folders_are_the_published_union(tmp_path, clip):
    """Oracle T10's rule: the larger class id, pixel by pixel; tap is lost."""
    egoseg3d.write_clip(tmp_path, clip)
    own = np.full(HW, -1, np.int32)
    own[0], own[1] = 0, 7
    official_truth(tmp_path, "visor_segmaps", own, {"tap": 0, "pan": 5, "cup": 7})
    extended = tmp_path / "P01/P01_01/extended"
    extended.mkdir()
    grown = np.zeros(HW, np.int32)
    grown[1:4] = 5
    np.save(extended / f"{FRAMES[0]}.npy", grown)
    found = egoseg3d.read_clip(tmp_path, "P01_01", truth="extended+visor_segmaps")
    expected = np.zeros(HW, int)
    expected[1:4], expected[1] = 6, 8
    np.testing.assert_array_equal(found.truth.labels[0], expected)
    with pytest.raises(UsageError, match="expected two folders"):
        egoseg3d.read_clip(tmp_path, "P01_01", truth="nothing+visor_segmaps")


def test_a_truth_that_is_not_there_is_told(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    found = egoseg3d.read_clip(tmp_path, "P01_01", truth="mistyped")
    assert any("mistyped: the polygons of" in note for note in found.notes)


def test_maps_of_another_size_take_the_nearest_class(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    small = np.full((3, 4), -1, np.int32)
    small[1, 2] = 5
    official_truth(tmp_path, "visor_segmaps", small, {"pan": 5})
    found = egoseg3d.read_clip(tmp_path, "P01_01", truth="visor_segmaps").truth
    expected = np.zeros(HW, int)
    expected[2:4, 4:6] = 6
    np.testing.assert_array_equal(found.labels[0], expected)


def test_names_that_share_a_class_are_told(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    classes = {"pan": 5, "tap": 5}
    official_truth(tmp_path, "visor_segmaps", np.full(HW, 5), classes)
    found = egoseg3d.read_clip(tmp_path, "P01_01", truth="visor_segmaps")
    assert "tap, pan are VISOR's class 5" in found.notes[0]
    np.testing.assert_array_equal(found.truth.segments[0].category, [0])
    assert found.truth.category_names == ("tap", "tap")


def test_a_second_clip_keeps_the_scale_of_the_first(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    egoseg3d.write_clip(tmp_path, clip.replace(name="P02_102", metric_scale=0.5))
    assert egoseg3d.videos(tmp_path) == ("P01_01", "P02_102")
    assert egoseg3d.read_clip(tmp_path, "P01_01").metric_scale == 1.25
    second = egoseg3d.read_clip(tmp_path, "P02_102")
    assert (second.metric_scale, second.fps) == (0.5, 10)


def test_frames_that_cannot_be_read_are_left_out_of_the_tree(tmp_path, clip):
    def broken(t):
        if t == 1:
            raise FrameError("gone")
        return clip.depth[t]

    spoiled = clip.replace(depth=Source(broken, 2))
    seen = []
    skipped = egoseg3d.write_clip(
        tmp_path, spoiled, progress=lambda done, total: seen.append((done, total))
    )
    assert skipped == [(1, "gone")]
    assert seen == [(1, 2)]
    assert egoseg3d.read_clip(tmp_path, "P01_01").frame_ids == FRAMES[:1]


def test_late_frames_are_left_out_as_published(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    found = egoseg3d.read_clip(tmp_path, "P01_01", max_number=5)
    assert found.frame_ids == FRAMES[:1]
    assert "1 frames beyond number 5 are left out" in found.notes[0]
    with pytest.raises(UsageError, match="no frame with a number up to 0"):
        egoseg3d.read_clip(tmp_path, "P01_01", max_number=0)


def test_the_last_listing_of_an_id_gives_its_category(tmp_path, clip):
    changing = Source.of([rows([300], [0]), rows([300, 70000], [1, 0])])
    egoseg3d.write_clip(tmp_path, clip.replace(segments=changing))
    found = egoseg3d.read_clip(tmp_path, "P01_01")
    assert found.segments[0].category.tolist() == [0]
    found = egoseg3d.read_clip(tmp_path, "P01_01", categories="last")
    assert found.segments[0].category.tolist() == [1]
    assert found.segments[0].score.tolist() == [0.5]


def test_aligned_depth_behind_the_camera_is_unknown(tmp_path, clip):
    depth = np.full(HW, 2.0)
    depth[0], depth[1] = -0.5, np.nan
    streams = {"aligned_depth": Source.of([depth] * 2)}
    egoseg3d.write_clip(tmp_path, clip.replace(streams=streams))
    found = egoseg3d.read_clip(tmp_path, "P01_01").streams["aligned_depth"][0]
    assert np.isinf(found[:2]).all() and (found[2:] == 2).all()


def test_cameras_of_another_size_are_told(tmp_path, clip):
    cameras = [clip.camera[t].replace(size_hw=(12, 16)) for t in range(2)]
    egoseg3d.write_clip(tmp_path, clip.replace(camera=Source.of(cameras)))
    with pytest.raises(UsageError, match=r"cameras for \(12, 16\)"):
        egoseg3d.read_clip(tmp_path, "P01_01")


def test_without_a_scale_none_is_claimed(tmp_path, clip):
    egoseg3d.write_clip(tmp_path, clip)
    assert egoseg3d.read_clip(tmp_path, "P01_01").scale_known
    (tmp_path / "meta.json").unlink()
    found = egoseg3d.read_clip(tmp_path, "P01_01")
    assert (found.metric_scale, found.scale_known) == (1.0, False)
    assert egoseg3d.read_clip(tmp_path, "P01_01", use_rescale=False).scale_known


@pytest.mark.parametrize("scale", [0, -1, "1", True, None, float("nan"), []])
def test_a_scale_that_is_none_is_told(tmp_path, clip, scale):
    egoseg3d.write_clip(tmp_path, clip)
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({"rescale_scores": {"P01_01": scale}}))
    with pytest.raises(UsageError, match=r"meta\.json: rescale_scores\.P01_01"):
        egoseg3d.read_clip(tmp_path, "P01_01")


RAW = "segmaps/deva_OWLv2_s5/Annotations/Raw"
BAD_LAYERS = {
    "depth of another size": ("depth", "_depth", np.zeros((3, 3), np.float32)),
    "depth of text": ("depth", "_depth", np.array([["a"]])),
    "negative depth": ("mesh_depth", "_depth", np.full(HW, -1.0)),
    "a flat map": (RAW, "", np.zeros(48, int)),
    "a smaller map": (RAW, "", np.zeros((2, 2), int)),
    "a map of fractions": (RAW, "", np.ones(HW)),
    "an id of 64 bit": (RAW, "", np.full(HW, 1 << 40)),
    "classes below -1": ("visor_DEVA100_segmaps", "", np.full(HW, -7)),
    "absurd classes": ("visor_DEVA100_segmaps", "", np.full(HW, 1 << 30)),
    "an endless map": ("visor_DEVA100_segmaps", "", np.zeros((1, 1 << 15), np.int8)),
    "an empty map": ("visor_DEVA100_segmaps", "", np.zeros((0, 4), int)),
    "aligned integers": ("aligned_depth/default", "_depth", np.ones(HW, int)),
    "features by name": ("features/dino_s5", "_feat", {"a": np.ones(3)}),
    "ragged features": ("features/dino_s5", "_feat", {1: np.ones(3), 2: np.ones(4)}),
    "features of NaN": ("features/dino_s5", "_feat", {1: np.full(3, np.nan)}),
    "features of text": ("features/dino_s5", "_feat", {1: "abc"}),
    "no features": ("features/dino_s5", "_feat", np.ones(3)),
}


@pytest.mark.parametrize("what", BAD_LAYERS)
def test_a_bad_file_of_a_layer_costs_its_frame_one_line(tmp_path, clip, what):
    folder, suffix, values = BAD_LAYERS[what]
    egoseg3d.write_clip(tmp_path, clip)
    path = tmp_path / "P01" / "P01_01" / folder / f"{FRAMES[1]}{suffix}.npy"
    np.save(path, values, allow_pickle=True)
    found = egoseg3d.read_clip(tmp_path, "P01_01")
    layers = [*found.sources.values(), *found.streams.values(), found.truth.labels]
    told = []
    for source in layers:
        assert source[0] is not None
        try:
            source[1]
        except FrameError as err:
            told.append(str(err))
    (line,) = told
    assert line.startswith(f"{path}: ")
    assert "\n" not in line


def test_layers_that_are_not_there_are_told(tmp_path, clip):
    bare = Clip(clip.name, FRAMES, HW, category_names=clip.category_names)
    bare = bare.replace(labels=clip.labels, segments=clip.segments)
    egoseg3d.write_clip(tmp_path, bare)
    found = egoseg3d.read_clip(tmp_path, "P01_01")
    assert len(found.notes) == 6
    assert found.fps == 12
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

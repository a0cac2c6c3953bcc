"""What an opened clip is refused for, what is told of it, and its metric scale."""

import json

import numpy as np
import pytest

from egojax.apps import cli
from egojax.data.runs import ClipFolder
from egojax.errors import FrameError, UsageError
from egojax.tasks import clips, opening, tracking
from egojax.types import Camera, Clip, Mesh, Objects, SegmentFeatures, Segments, Source
from tests import motion_run_folders

CONFIG = cli.find_config("configs/tracking.py")[0]
SIZE = (30, 40)
CAMERA = Camera(
    np.array([[30.0, 0, 20], [0, 30, 15], [0, 0, 1]]), np.eye(4), size_hw=SIZE
)


def load(variant="folder", **fields):
    config = cli.load_config(CONFIG, variant)
    for name, value in fields.items():
        group, last = name.split("__")
        config[group][last] = value
    return config


def labels(t: int = 0) -> np.ndarray:
    """Segments of 600, 100 and 10 pixels."""
    out = np.zeros(SIZE, np.int32)
    out[:20, :30] = 1
    out[20:, :10] = 2
    out[25, 20:30] = 3
    return out


def make_clip(count: int = 3, **changes) -> Clip:
    table = Segments(
        np.array([1, 2, 3]), np.array([1, 0, 0], np.int32), np.ones(3, np.float32)
    )
    clip = Clip(
        "mine",
        tuple(f"f{t}" for t in range(count)),
        SIZE,
        category_names=("mug", "sink"),
        labels=Source(labels, count),
        segments=Source.of([table] * count),
    )
    return clip.replace(**changes)


def broken(count: int = 3) -> Source:
    def read(t: int):
        raise FrameError(f"labels/{t}.png: a RGB image")

    return Source(read, count)


# ------------------------------------------------------------------------- segments


def test_segments_that_are_left_out_are_counted():
    (note,) = opening.settled(load(), make_clip()).notes
    assert note == (
        "6 of 9 segments are left out: 6 of at most 500 px (config.segments.min_pixels)"
    )
    config = load(segments__min_pixels=50, segments__ignore_categories=("sink",))
    (note,) = opening.settled(config, make_clip()).notes
    assert note == (
        "6 of 9 segments are left out: 3 of at most 50 px "
        "(config.segments.min_pixels), 3 of ignored categories "
        "(config.segments.ignore_categories)"
    )
    assert not opening.settled(load(segments__min_pixels=9), make_clip()).notes


def test_of_a_long_clip_some_frames_are_counted_and_the_note_says_so():
    count = 3 * opening.NUM_FRAMES
    seen = []
    found = Source(lambda t: seen.append(t) or labels(), count)
    (note,) = opening.settled(load(), make_clip(count, labels=found)).notes
    assert note.startswith(f"{2 * opening.NUM_FRAMES} of {3 * opening.NUM_FRAMES} ")
    assert note.endswith(f", in {opening.NUM_FRAMES} frames looked at")
    assert seen == list(range(0, count, 3))


def test_a_folder_of_the_users_own_ignores_no_category():
    assert load().segments.ignore_categories == ()
    assert "sink" in load("epic_fields").segments.ignore_categories


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, r"mine: nothing to track: the clip has no label maps \(labels/\)"),
        (broken(), "none of its label maps can be used; labels/0.png: a RGB image"),
        (Source.of([None] * 3), "can be used; there is none for any frame"),
    ],
)
def test_a_clip_without_anything_to_track_is_refused(found, expected):
    with pytest.raises(UsageError, match=expected) as told:
        opening.settled(load(), make_clip(labels=found))
    assert len(str(told.value).splitlines()) == 1


def test_one_label_map_that_can_be_read_is_enough_wherever_it_is():
    count = 2 * opening.NUM_FRAMES

    def read(t: int) -> np.ndarray:
        if t != 2 * 7 + 1:  # Not one of the frames that are looked at first.
            raise FrameError("broken")
        return labels()

    clip = make_clip(count, labels=Source(read, count))
    assert opening.settled(load(), clip).num_frames == count


@pytest.mark.parametrize(("kind", "what"), [("file", "features"), ("descriptor", "im")])
def test_features_that_the_clip_lacks_are_refused(kind, what):
    config = load(features__name=kind)
    with pytest.raises(UsageError, match=f"features.name={kind}, .* has no {what}"):
        opening.settled(config, make_clip())
    row = SegmentFeatures(np.array([1]), np.ones((1, 2), np.float32))
    image = np.zeros((*SIZE, 3), np.uint8)
    clip = make_clip(features=Source.of([row] * 3), frames=Source.of([image] * 3))
    assert opening.settled(config, clip).features is not None


# ---------------------------------------------------------------------------- scale

RAMP = np.linspace(1, 3, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)


def posed(**changes) -> Clip:
    """A clip in units of a twentieth of a metre, which nothing says."""
    return make_clip(
        **{
            "camera": Source.of([CAMERA] * 3),
            "depth": Source.of([RAMP] * 3),
            "static_depth": Source.of([20 * RAMP] * 3),
            "scale_known": False,
            "truth": make_clip(),
            **changes,
        }
    )


def settle(clip: Clip, **fields) -> tuple[float, list[str]]:
    config = load(segments__min_pixels=0, depth__exclude_segments=False, **fields)
    found = opening.settled(config, clip)
    assert found.truth is None or found.truth.metric_scale == found.metric_scale
    return found.metric_scale, list(found.notes)


def test_depth_in_metres_gives_the_scale_where_nothing_else_does():
    number, (note,) = settle(posed())
    assert number == pytest.approx(0.05, rel=1e-4)
    assert note.startswith("one world unit is 0.05 m, by depth that is taken to be in")


def test_points_of_the_scene_serve_where_there_is_no_mesh():
    """On the rays of the camera, 20 units for each metre of depth."""
    row, column = np.mgrid[1 : SIZE[0] : 3, 1 : SIZE[1] : 3].reshape(2, -1)
    ray = np.stack(
        [(column + 0.5 - 20) / 30, (row + 0.5 - 15) / 30, np.ones(len(row))], 1
    )
    points = ray * 20.0 * RAMP[row, column][:, None]
    number, (note,) = settle(posed(static_depth=None, points=points))
    assert number == pytest.approx(0.05, rel=1e-3)
    assert note.startswith("one world unit is 0.05 m")


@pytest.mark.parametrize("count", [1, 11])
def test_points_that_tell_nothing_are_told(count):
    """Too few, or all at one depth with some noise."""
    rng = np.random.default_rng(0)
    wall = np.stack([*rng.uniform(-0.5, 0.5, (2, 300)), np.ones(300)], 1)
    wall *= 30 + 0.3 * rng.normal(size=(300, 1))
    for points in (np.array([[0.0, 0.0, 9.0]] * count), wall):
        number, notes = settle(posed(static_depth=None, points=points))
        assert number == 1 and len(notes) == 2
        assert "the points of the scene tell in no frame how to align it" in notes[0]
        assert notes[1].startswith("nothing says the scale: one world unit counts")


def test_no_points_are_no_scene():
    found = settle(posed(static_depth=None, points=np.zeros((0, 3))))[1]
    assert "there is no mesh, no points and no static depth" in found[0]


def test_frames_that_disagree_on_the_scale_are_told():
    static = Source.of([20 * RAMP, 4 * RAMP, 90 * RAMP])
    number, (note,) = settle(posed(static_depth=static))
    assert number == 1
    assert note.startswith("nothing says the scale (by depth, frames say from 0.01")


def test_what_the_data_says_goes_before_depth_and_the_config_before_both():
    known = posed(metric_scale=0.7, scale_known=True)
    assert settle(known) == (0.7, [])
    assert settle(known, data__metric_scale=0.3) == (0.3, [])
    assert settle(posed(), data__metric_scale=0.3) == (0.3, [])


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"depth": None}, {}),
        ({"depth": broken()}, {}),
        ({}, {"depth__space": "disparity"}),
        ({}, {"depth__align": False}),
    ],
)
def test_where_nothing_tells_the_scale_a_note_says_so(changes, fields):
    number, (note,) = settle(posed(**changes), **fields)
    assert number == 1
    assert note.startswith("nothing says the scale: one world unit counts as a metre")


def test_depth_with_nothing_to_align_it_to_is_told():
    number, notes = settle(posed(static_depth=None, scale_known=True))
    assert number == 1
    assert len(notes) == 1 and notes[0].startswith("depth counts as it is, in world")
    assert settle(make_clip(depth=Source.of([RAMP] * 3))) == (1, [])  # In the image.


def test_numbers_in_metres_do_not_depend_on_the_units_of_the_world(tmp_path):
    """A world in which things are out of view, and the same twenty times as large."""
    config = load(
        "smoke",
        world__faults="none",
        world__num_frames=60,
        eval__depth=False,
    )
    clip = clips.make(config, opening.prepared, opening.settled)["world-0"]()
    large = opening.settled(config, enlarged(clip, 20.0))
    assert large.metric_scale == pytest.approx(0.05, rel=1e-3)
    found = []
    for name, one in (("as it is", clip), ("large", large)):
        (tmp_path / name).mkdir()
        folder = ClipFolder(tmp_path / name)
        stages = tracking.make(config, "predict", tmp_path).stages
        for stage in stages:
            assert stage.run(one, folder, lambda done, total: None) == []
        locations = np.load(tmp_path / name / "tracks.npz")["location"]
        found.append((locations, json.loads((folder.path / "scores.json").read_text())))
    (at, scores), (at_large, scores_large) = found
    assert len(at) > 40 and np.isfinite(at).mean() > 0.9
    np.testing.assert_allclose(at_large, at, atol=5e-3)
    assert scores["geometry"]["lift_center_median"] < 0.1
    assert scores["names"]["after"]["PCL_R0.3"] > 0.9
    for group, numbers in leaves(scores):
        other = dict(leaves(scores_large))[group]
        assert other == pytest.approx(numbers, rel=1e-2, abs=2e-3, nan_ok=True), group


def leaves(tree, path=()):
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from leaves(value, (*path, name))
    elif isinstance(tree, float | int):
        yield path, tree


def enlarged(clip: Clip, factor: float) -> Clip:
    """The same clip in smaller units, which it does not say; depth stays in metres."""

    def far(camera: Camera) -> Camera:
        w2c = np.array(camera.w2c, np.float64)
        w2c[:3, 3] *= factor
        return camera.replace(w2c=w2c)

    def moved(objects: Objects) -> Objects:
        o2w = np.array(objects.o2w)
        o2w[:, :3, 3] *= factor
        return Objects(
            objects.ids,
            objects.category,
            objects.centers * factor,
            o2w,
            objects.extent * factor,
            objects.occlusion,
            objects.motion,
        )

    mesh = Mesh(clip.mesh.vertices * np.float32(factor), clip.mesh.faces)
    truth = clip.truth.replace(objects=clip.truth.objects.map(moved))
    return clip.replace(
        camera=clip.camera.map(far), mesh=mesh, truth=truth, scale_known=False
    )


# ------------------------------------------------------------------ motion as segments


def test_motion_groups_are_tracked_and_what_never_moves_is_no_miss(tmp_path):
    """Of the true things 1 and 2 the second moves, in the last frame alone."""
    masks = {f"f{t}": np.int32(labels() == 1) * 4 for t in range(3)}
    run = motion_run_folders.write_run(tmp_path / "run", "mine", masks)
    moves = [np.array([0, 0]), np.array([0, 0]), np.array([0, 2])]
    things = [
        Objects(np.array([1, 2]), np.zeros(2, np.int32), np.zeros((2, 3)), motion=m)
        for m in moves
    ]
    truth = make_clip(objects=Source.of(things))
    config = load(data__motion=str(run))
    clip = opening.settled(config, make_clip(truth=truth, labels=None, segments=None))
    np.testing.assert_array_equal(clip.labels[1], masks["f1"])
    for t in range(3):
        expected = np.where(labels() == 2, 2, 0)
        np.testing.assert_array_equal(clip.truth.labels[t], expected)
    assert clip.truth.segments is None  # Groups have no category.


def test_motion_of_another_clip_is_refused_when_the_clip_is_opened(tmp_path):
    run = motion_run_folders.write_run(tmp_path / "run", "yours", {})
    with pytest.raises(UsageError, match=r"config\.data\.motion=.*it has yours"):
        opening.settled(load(data__motion=str(run)), make_clip())

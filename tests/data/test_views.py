import dataclasses

import numpy as np
import pytest

from egojax.data.views import with_views
from egojax.errors import FrameError, UsageError
from egojax.ops import scene_bounds
from egojax.types import Camera, Clip, Mesh, Source, View

POINTS = np.random.default_rng(0).uniform((-1, -1, 4), (1, 1, 6), (50, 3))


def camera(shift=0.0, turn=1.0):
    w2c = np.diag([1.0, turn, turn, 1.0])
    w2c[2, 3] = shift
    return Camera(np.eye(3), w2c, size_hw=(4, 4))


def clip(num=20, points=POINTS, **changes):
    cameras = Source(lambda t: camera(0.01 * t), num)
    names = tuple(f"frame_{401 + 4 * t}" for t in range(num))
    return Clip("a", names, (4, 4), camera=cameras, points=points).replace(**changes)


def test_frames_get_bounds_slots_and_splits():
    base = clip()
    found = with_views(base, every=4, near_floor=0.0)
    poses = np.stack([c.w2c for c in base.camera])
    near, far = scene_bounds.near_far(POINTS, poses)
    np.testing.assert_allclose([v.near for v in found.views], near)
    np.testing.assert_allclose([v.far for v in found.views], far)
    assert [v.slot for v in found.views] == list(range(20))
    assert [v.split for v in found.views][:9] == [
        *("test", "train", "train", "train", "val", "train", "train", "train", "test"),
    ]
    assert found.notes == ()


def test_near_has_a_floor_over_the_video():
    close = POINTS[None, 0] * [0, 0, 0] + [0, 0, 1e-7]
    # The first camera has that point before it, the others (moved on) behind.
    cameras = Source(lambda t: camera(-0.01 * t), 20)
    base = clip(points=np.concatenate([POINTS, close]), camera=cameras)
    plain = with_views(base, near_floor=0.0)
    assert plain.views[0].near < 0.5
    lows = sorted(v.near for v in plain.views)
    floored = with_views(base, near_floor=0.05)
    # Between the two smallest of 20: 0.05 * 19 = 0.95 of the way.
    expected = lows[0] + 0.95 * (lows[1] - lows[0])
    np.testing.assert_allclose(floored.views[0].near, expected)


def test_slots_follow_the_numbers_of_frames_where_these_grow():
    names = ("f_10", "f_20", "f_110")
    assert [v.slot for v in with_views(clip(3, frame_ids=names)).views] == [0, 1, 10]
    views = with_views(clip(3, frame_ids=names), num_slots=51).views
    assert [v.slot for v in views] == [0, 5, 50]
    assert [
        v.slot for v in with_views(clip(3, frame_ids=names), slots="rank").views
    ] == [*range(3)]
    for other in (("x", "y", "z"), ("f_9", "f_3", "f_3b")):
        views = with_views(clip(3, frame_ids=other)).views
        assert [v.slot for v in views] == [0, 1, 2]


def test_frames_without_a_pose_have_no_view_and_do_not_count():
    base = clip()
    gaps = Source(lambda t: base.camera[t] if t >= 3 else None, 20)
    found = with_views(base.replace(camera=gaps), every=4)
    assert list(found.views)[:3] == [None] * 3
    assert found.views[3].split == "test"
    assert found.views[7].split == "val"
    assert found.notes == ()


def test_a_frame_that_looks_away_from_all_points_costs_itself():
    base = clip()
    away = Source(lambda t: camera(turn=-1.0) if t == 5 else base.camera[t], 20)

    def broken(t):
        if t == 6:
            raise FrameError("camera 6 is broken")
        return away[t]

    found = with_views(base.replace(camera=Source(broken, 20)))
    with pytest.raises(FrameError, match="frame frame_421: no points at two depths"):
        found.views[5]
    with pytest.raises(FrameError, match="camera 6 is broken"):
        found.views[6]
    assert isinstance(found.views[7], View)
    assert found.notes == ("2 frames have no near and far (frame_421)",)


def test_bounds_may_be_given_or_come_from_a_mesh():
    bare = clip(points=None)
    views = with_views(bare, near=0.5, far=9).views
    assert {(v.near, v.far) for v in views} == {(0.5, 9.0)}
    mesh = Mesh(POINTS.astype(np.float32), np.zeros((0, 3), np.int32))
    found = with_views(bare.replace(mesh=mesh)).views
    np.testing.assert_allclose(found[3][:2], with_views(clip()).views[3][:2], rtol=1e-6)
    half = with_views(clip(), near=0.25).views
    assert half[0].near == 0.25
    assert half[0].far == with_views(clip()).views[0].far


def test_a_split_may_be_given_by_name():
    names = clip().frame_ids
    split = {"train": names[:5], "val": [names[7]], "test": [names[9], "no_frame"]}
    views = list(with_views(clip(), split=split).views)
    assert [v and v.split for v in views[:10]] == [
        *["train"] * 5, None, None, "val", None, "test",
    ]  # fmt: skip
    assert views[10:] == [None] * 10


def test_a_clip_that_has_views_keeps_them():
    found = with_views(clip())
    assert with_views(found, every=2) is found


def test_one_frame_is_trained_on_if_nothing_is_held_out():
    assert with_views(clip(1), every=0).views[0].split == "train"


BAD = {
    "no points": (dict(points=None), {}, "give near and far of all"),
    "empty points": (dict(points=np.zeros((0, 3))), {}, "give near and far of all"),
    "only near": (dict(points=None), dict(near=1.0), "give near and far of all"),
    "no cameras": (dict(camera=None), {}, "no frame has a camera pose"),
    "no poses": (dict(camera=Source.of([None] * 20)), {}, "no frame has a camera pose"),
    "another world": (dict(points=-POINTS), {}, "no frame has points at two depths"),
    "points of NaN": (dict(points=POINTS * np.nan), {}, "no frame has points at two"),
    "one point": (dict(points=POINTS[:1]), {}, "no frame has points at two depths"),
    "a negative step": ({}, dict(every=-1), "every=-1; expected 0 or more"),
    "a near of zero": ({}, dict(near=0), "near=0; expected a number from 0"),
    "a far of NaN": ({}, dict(far=float("nan")), "far=nan; expected a number from 0"),
    "near behind all points": ({}, dict(near=100.0), "near is 100 and far "),
    "near above far": ({}, dict(near=2, far=1), "near=2 and far=1"),
    "a floor of two": ({}, dict(near_floor=2), "near_floor=2; expected a quantile"),
    "no slots": ({}, dict(num_slots=0), "0 slots"),
    "few slots": ({}, dict(num_slots=3, slots="rank"), "slots 0 to 19 by rank"),
    "an unknown split": ({}, dict(split={"dev": []}), "split 'dev'; there are train"),
    "a frame of two splits": (
        {},
        dict(split={"train": ["x"], "val": ["x"]}),
        "frame x is in two splits",
    ),
    "a split of nobody": ({}, dict(split={"train": ["x"]}), "none of 1 listed frames"),
    "no frame to train on": ({}, dict(every=1), "none of 20 frames to train on"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_has_no_views_is_refused_in_a_line(what):
    changes, arguments, expected = BAD[what]
    with pytest.raises(UsageError) as err:
        with_views(clip(**changes), **arguments)
    assert str(err.value).startswith("a: ")
    assert expected in str(err.value)
    assert "\n" not in str(err.value)


def test_one_frame_leaves_none_to_train_on():
    with pytest.raises(UsageError, match="none of 1 frames to train on: every=8"):
        with_views(clip(1))


def test_a_pose_that_is_not_finite_has_no_bounds():
    base = clip()
    lost = dataclasses.replace(camera(), w2c=np.full((4, 4), np.nan))
    cameras = Source(lambda t: lost if t == 2 else base.camera[t], 20)
    with pytest.raises(FrameError, match="frame_409"):
        with_views(base.replace(camera=cameras)).views[2]

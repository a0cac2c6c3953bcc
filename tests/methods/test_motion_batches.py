"""Items of learning: which frames, in which order, and mirrored as they should be."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from egojax.errors import FrameError, UsageError
from egojax.methods.motion_batches import batches
from egojax.methods.motion_clips import ItemSettings, MotionClip, read_clip
from egojax.ops.motion_losses import temporal_loss
from egojax.ops.trajectories import places
from egojax.types import PointTracks, Source, WindowTracks

HW = (24, 48)
SETTINGS = ItemSettings(
    size_hw=(12, 24), gaps=(1, 2), half=4, smooth=3, num_points=16, flip=False
)


def clip_of(num_frames=12, num=40, missing=(), bad=(), gaps=(1, 2)) -> MotionClip:
    """Points and pixels that move by (1, 0.5) a frame; images tell their number."""
    rng = np.random.default_rng(0)
    start = rng.uniform((4, 4), (30, 16), (num, 2))
    t = np.arange(num_frames)[None, :, None]
    places = start[:, None] + t * np.array([1.0, 0.5])
    tracks = PointTracks(
        np.zeros(num, np.int32),
        np.full(num, num_frames, np.int32),
        places.reshape(-1, 2).astype(np.float32),
        HW,
    )

    def frame(t: int) -> np.ndarray:
        if t in bad:
            raise FrameError("damaged")
        return np.full((*HW, 3), t, np.uint8)

    def flow(gap: int) -> Source:
        def read(t: int):
            is_there = 0 <= t + gap < num_frames and (gap, t) not in missing
            moved = np.float32([gap, 0.5 * gap])
            return np.broadcast_to(moved, (*HW, 2)) if is_there else None

        return Source(read, num_frames)

    flows = {way * gap: flow(way * gap) for gap in gaps for way in (1, -1)}
    return MotionClip("walk", Source(frame, num_frames), flows, tracks)


def some(count=1, clips=None, settings=SETTINGS, size=8, seed=0, **options):
    items = [read_clip(clip, settings) for clip in clips or [clip_of()]]
    found = batches(items, settings, size, seed, **options)
    return list(itertools.islice(found, count))


def quadruples(found) -> list[tuple[tuple[int, ...], int, bool]]:
    """Frames, gap, and whether anything is compared, of every quadruple."""
    out = []
    for batch in found:
        frames, gaps = batch.images[:, :, 0, 0, 0].tolist(), batch.gap
        np.testing.assert_array_equal(gaps, gaps[:, :1] * [[1, -1, 1, -1]])
        seen = batch.motion.visible.any((1, 2, 3))
        out += list(zip(map(tuple, frames), gaps[:, 0].tolist(), seen, strict=True))
    return out


def test_an_epoch_has_every_frame_and_gap_once():
    """By hand: gap 1 has 11 frames, gap 2 has 10; the last five of each look back."""
    expected = set()
    for gap, count in ((1, 11), (2, 10)):
        for frame in range(count):
            start = frame if frame + 5 < count else frame - 5
            frames = (start, start + gap, start + 5, start + gap + 5)
            expected.add((frame, frames, gap))
    found = quadruples(some(21, size=4))
    assert sorted((q[0], q[1]) for q in found) == sorted(q[1:] for q in expected)
    assert all(is_seen for *_, is_seen in found)
    again = quadruples(some(21, size=4, first=21))
    assert sorted(found) == sorted(again) and found != again


@pytest.mark.parametrize("first", [1, 5, 11, 40])
def test_a_run_that_goes_on_sees_what_one_that_never_stopped_sees(first):
    settings = dataclasses.replace(SETTINGS, flip=True)
    clips = [clip_of(), clip_of(9)]
    options = {"clips": clips, "settings": settings, "ramp": lambda step: 0.1 * step}
    whole = some(first + 2, **options)[first:]
    later = some(2, first=first, **options)
    for a, b in zip(whole, later, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)
    assert later[1].ramp.tolist() == pytest.approx([0.1 * (first + 1)] * 2)


def test_other_seeds_see_other_items():
    a, b, c = (quadruples(some(3, seed=seed)) for seed in (0, 1, (0, 1)))
    assert a != b and b != c


def test_lengths_are_in_pixels_of_480_x_854():
    """By hand: 48 columns of tracks and of flow become 854; 24 rows become 480."""
    settings = dataclasses.replace(SETTINGS, num_points=40, smooth=0)
    (batch,) = some(clips=[clip_of()], settings=settings, size=4)
    images, motion, gaps = batch.in_a_row()
    scale, high, tracks = 854 / 48, 480 / 24, motion.tracks
    for b, gap in enumerate(gaps):
        np.testing.assert_allclose(
            motion.flow[b], np.full((12, 24, 2), [gap * scale, 0.5 * gap * high]), 1e-3
        )
    moved = np.diff(tracks, axis=1)
    np.testing.assert_allclose(moved[..., 0], scale, rtol=1e-3)
    np.testing.assert_allclose(moved[..., 1], 0.5 * high, rtol=2e-3)
    here = tracks[np.arange(4), motion.own]
    loc = 2 * here / np.float32([854, 480]) - 1
    np.testing.assert_allclose(motion.loc, loc, atol=1e-5)
    assert images.dtype == np.uint8 and motion.flow.dtype == np.float32


def test_a_mirrored_item_is_that_of_a_mirrored_clip():
    """Images, flow and tracks; and the term over time does not feel it."""
    flipped = dataclasses.replace(SETTINGS, flip=True, num_points=40, smooth=0)
    batch, masks = None, np.random.default_rng(0).uniform(size=(4, 2, 12, 24))
    for seed in range(20):
        (found,) = some(size=4, settings=flipped, seed=seed)
        if found.motion.flow[0, 0, 0, 0, 0] * found.gap[0, 0] < 0:
            batch = found
            break
    assert batch is not None
    scale, (_, motion, gaps) = 854 / 48, batch.in_a_row()
    expected = gaps[:, None] * np.array([[-scale, 0.5 * 480 / 24]])
    np.testing.assert_allclose(motion.flow[:, 3, 5], expected, rtol=1e-3)
    np.testing.assert_allclose(
        np.diff(motion.tracks[..., 0], axis=1), -scale, rtol=1e-3
    )
    here = motion.tracks[np.arange(4), motion.own]
    np.testing.assert_allclose(
        motion.loc, 2 * here / np.float32([854, 480]) - 1, atol=1e-5
    )
    back = motion._replace(
        tracks=np.float32([854, 0]) + motion.tracks * np.float32([-1, 1]),
        loc=motion.loc * np.float32([-1, 1]),
    )
    masks = masks.astype(np.float32)
    straight = temporal_loss(masks, back)
    mirrored = temporal_loss(masks[..., ::-1].copy(), motion)
    assert mirrored == pytest.approx(float(straight), rel=1e-4) and straight > 0.01


@pytest.mark.parametrize("flip", [False, True])
def test_published_pixels_have_their_origin_in_the_centre_of_the_first(flip):
    """Mirrored, x becomes 853 - x; -1 and 1 are the centres of the outer pixels."""
    given = dataclasses.replace(SETTINGS, num_points=40, smooth=0, flip=flip)
    seeds = [0] if not flip else range(20)
    for seed in seeds:
        usual, published = (
            some(size=4, settings=settings, seed=seed)[0].in_a_row()[1]
            for settings in (given, dataclasses.replace(given, published=True))
        )
        np.testing.assert_allclose(published.tracks, usual.tracks - 0.5, atol=1e-4)
        here = usual.tracks[np.arange(4), usual.own]
        expected = places(here - 0.5, (480, 854), published=True)
        np.testing.assert_allclose(published.loc, expected, atol=1e-5)


def test_windows_may_be_of_files():
    """Of points that are seen all the time, these are the windows of tracks."""
    clip = clip_of()
    whole = clip.tracks.xy.reshape(40, 12, 2).swapaxes(0, 1)

    def read(t):
        seen = np.ones((12, 40 if t == 6 else 0), bool)
        return WindowTracks(whole[:, : seen.shape[1]], seen, np.arange(12), t, HW)

    settings = dataclasses.replace(SETTINGS, num_points=40)
    of_files = dataclasses.replace(clip, files=Source(read, 12))
    found, expected = (read_clip(c, settings).windows for c in (of_files, clip))
    for name in ("tracks_xy", "visibility", "frames", "query", "size_hw"):
        a, b = (getattr(w.around(6), name) for w in (found, expected))
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(found.places(6), expected.places(6))
    (batch,) = some(clips=[of_files], settings=settings)
    assert np.isfinite(batch.motion.tracks).all()


def test_flow_may_be_finer_than_images():
    fine = dataclasses.replace(SETTINGS, flow_hw=(24, 48))
    coarse, found = (some(settings=s)[0].in_a_row() for s in (SETTINGS, fine))
    assert found[1].flow.shape == (8, 24, 48, 2)
    np.testing.assert_array_equal(found[0], coarse[0])
    np.testing.assert_allclose(found[1].flow[:, ::2, ::2], coarse[1].flow, rtol=1e-3)


def test_images_are_mirrored_with_their_motion():
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[None, :, None], (*HW, 3))
    clip = dataclasses.replace(clip_of(), frames=Source(lambda t: ramp, 12))
    settings = dataclasses.replace(SETTINGS, flip=True)
    both = set()
    for batch in some(10, clips=[clip], settings=settings, size=4):
        images, motion, gaps = batch.in_a_row()
        rises = images[:, 0, -1, 0] > images[:, 0, 0, 0]
        goes_right = motion.flow[:, 0, 0, 0] * gaps > 0
        np.testing.assert_array_equal(rises, goes_right)
        assert len(set(rises.tolist())) == 1
        both.add(bool(rises[0]))
    assert both == {True, False}


def test_clips_without_a_second_pair_give_the_first_twice_and_compare_nothing():
    clip = clip_of(5)
    found = quadruples(some(7, clips=[clip], size=4))
    assert {(q[0], q[1]) for q in found} == {
        *(((t, t + 1, t, t + 1), 1) for t in range(4)),
        *(((t, t + 2, t, t + 2), 2) for t in range(3)),
    }
    assert not any(is_seen for *_, is_seen in found)


def test_frames_and_flows_that_are_not_there_are_in_no_item():
    clip = clip_of(14, missing=[(1, 3), (-2, 6)], bad=[9])
    items = read_clip(clip, SETTINGS)
    assert [s.frame_idx for s in items.skipped] == [9]
    found = quadruples(some(40, clips=[clip], size=4))
    firsts = {(q[0][n], q[1]) for q in found for n in (0, 2)}
    expected = {(t, 1) for t in range(13)} - {(3, 1), (8, 1), (9, 1)}
    expected |= {(t, 2) for t in range(12)} - {(4, 2), (7, 2), (9, 2)}
    assert firsts == expected
    assert all(9 not in q[0] for q in found)


def test_images_and_flow_may_lie_in_files(tmp_path):
    kept, outside = (read_clip(clip_of(), SETTINGS, f) for f in (None, tmp_path))
    assert isinstance(outside.images, np.memmap)
    np.testing.assert_array_equal(outside.images, kept.images)
    for gap in (1, -1, 2, -2):
        np.testing.assert_array_equal(outside.flows[gap], kept.flows[gap])


def test_points_that_are_hardly_seen_are_not_drawn():
    clip = clip_of()
    count = clip.tracks.count.copy()
    xy = clip.tracks.xy.reshape(40, 12, 2)
    count[20:] = 1
    xy = np.concatenate([xy[:20].reshape(-1, 2), xy[20:, 0]])
    tracks = dataclasses.replace(clip.tracks, count=count, xy=xy)
    clip = dataclasses.replace(clip, tracks=tracks)
    settings = dataclasses.replace(SETTINGS, min_visible=0.5, num_points=32)
    for batch in some(6, clips=[clip], settings=settings):
        weights = batch.in_a_row()[1].weights
        assert ((weights > 0).sum(1) == 20).all() and (weights.sum(1) == 32).all()


def test_a_clip_without_points_has_weights_of_zero():
    nothing = PointTracks(*np.zeros((2, 0), np.int32), np.zeros((0, 2), "f4"), HW)
    clip = dataclasses.replace(clip_of(), tracks=nothing)
    (batch,) = some(clips=[clip])
    assert not batch.motion.weights.any() and np.isfinite(batch.motion.loc).all()
    assert batch.motion.tracks.shape == (2, 4, 9, 16, 2)


def test_what_cannot_be_learned_from_is_told_in_a_line():
    def problem(clip=None, **changes) -> str:
        settings = dataclasses.replace(SETTINGS, **changes)
        with pytest.raises(UsageError) as err:
            read_clip(clip or clip_of(), settings)
        return str(err.value)

    assert problem(clip_of(4), half=20) == (
        "walk: 4 frames; windows of 41 need 15 or more, or a smaller half than 20"
    )
    assert problem(gaps=(3,)).splitlines() == [
        "walk: no flow over a gap of 3; there are -2, -1, 1, 2",
        "walk: no flow over a gap of -3; there are -2, -1, 1, 2",
    ]
    still = [(way, t) for way in (1, -1) for t in range(12)]
    assert "no frame has a flow forward and back over a gap of 1" in problem(
        clip_of(missing=still), gaps=(1,)
    )
    clip = clip_of()
    short = {**clip.flows, 1: clip.flows[1].select(range(5))}
    assert "5 flows over a gap of 1 and 12 frames" in problem(
        dataclasses.replace(clip, flows=short)
    )
    xy = clip.tracks.xy.copy()
    xy[3] = np.nan
    assert "places that are not finite" in problem(
        dataclasses.replace(clip, tracks=dataclasses.replace(clip.tracks, xy=xy))
    )
    late = dataclasses.replace(clip.tracks, first=clip.tracks.first + 1)
    assert "tracks leave the clip of 12 frames" in problem(
        dataclasses.replace(clip, tracks=late)
    )
    with pytest.raises(UsageError, match="batch_size=6: images come in quadruples"):
        some(size=6)
    with pytest.raises(UsageError, match="there are no clips"):
        batches([], SETTINGS, 8, 0)


@pytest.mark.parametrize("half", [1, 4, 20])
def test_the_least_clip_is_long_enough(half):
    needed = -(-(2 * half + 3) // 3)
    settings = dataclasses.replace(SETTINGS, half=half, gaps=(1,))
    (batch,) = some(clips=[clip_of(needed)], settings=settings)
    assert batch.motion.tracks.shape[2] == 2 * half + 1

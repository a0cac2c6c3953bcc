"""Tracks that stand still by their images: shadows, gains, frames that are missing."""

import numpy as np
import pytest

from egojax.methods.motion_windows import WindowMotion
from egojax.methods.still_points import (
    Stillness,
    StillSettings,
    brought_to_rest,
    details,
    find_still,
    nothing_known,
)
from egojax.types import PointTracks

SIZE, FRAMES, SPEED = (80, 120), 9, 3.0
STARTS = np.array([[30.5, 40.5], [36.5, 34.5], [41.5, 46.5]], np.float32)


def textured(seed):
    """A wall of fine texture, float32 (H, W)."""
    draw = np.random.default_rng(seed).uniform(60, 200, SIZE)
    near = np.pad(draw, 1, "edge")
    rows, columns = SIZE
    parts = [near[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.mean(parts, axis=0)


def inside(t):
    """The disc that moves, bool (H, W)."""
    row, column = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return np.hypot(column - 36 - SPEED * t, row - 40) < 22


def shadow(t, strength=0.5):
    return np.where(inside(t), strength, 1.0) * textured(0)


def thing(t):
    own = np.roll(textured(1), int(SPEED * t), axis=1)
    return np.where(inside(t), own, textured(0))


def film(draw):
    """Details of each frame of what `draw` shows."""
    frames = [np.repeat(draw(t)[..., None], 3, -1).astype(np.uint8) for t in range(9)]
    return [details(frame) for frame in frames]


def followed():
    """Points that go with the disc, and their window, in which all else rests."""
    way = np.array([SPEED, 0], np.float32) * np.arange(FRAMES)[:, None, None]
    places = STARTS[None] + way.astype(np.float32)
    count = np.full(len(STARTS), FRAMES, np.int32)
    rows = np.moveaxis(places, 1, 0).reshape(-1, 2)
    tracks = PointTracks(np.zeros(len(STARTS), np.int32), count, rows, SIZE)
    residual = places - places[FRAMES // 2]
    window = WindowMotion(0, np.arange(len(STARTS)), places.mean(0), residual, 0.1)
    return tracks, window


def verdict(shown, settings=None):
    tracks, window = followed()
    return find_still([window], tracks, shown.__getitem__, settings)


def test_a_shadow_stands_still_and_a_thing_does_not():
    found = verdict(film(shadow))
    assert found.known.all()
    assert found.still.all()
    found = verdict(film(thing))
    assert found.known.all()
    assert not found.still.any()


@pytest.mark.parametrize("strength", [0.35, 0.8])
def test_how_dark_a_shadow_is_makes_no_difference(strength):
    assert verdict(film(lambda t: shadow(t, strength))).still.all()


def test_details_are_the_same_in_any_light():
    image = np.repeat(textured(3)[..., None], 3, -1)
    bright, dim = details(image.astype(np.uint8)), details((image / 2).astype(np.uint8))
    assert np.corrcoef(bright.ravel(), dim.ravel())[0, 1] > 0.99
    assert np.abs(details(np.full((20, 30, 3), 90, np.uint8))).max() < 1e-6


def test_what_is_plain_stays_as_flow_says():
    plain = film(lambda t: np.full(SIZE, 120.0))
    assert not verdict(plain).still.any()


def test_what_does_not_move_is_not_known():
    tracks, window = followed()
    window = window._replace(residual=window.residual * 0)
    found = find_still([window], tracks, film(shadow).__getitem__)
    assert not found.known.any()
    assert not found.still.any()


def test_frames_that_cannot_be_read_say_nothing():
    shown = dict(enumerate(film(shadow)))
    tracks, window = followed()
    some = find_still([window], tracks, lambda t: None if t == 0 else shown[t])
    assert some.still.all()
    none = find_still([window], tracks, lambda t: None)
    assert not none.known.any()
    middle = find_still([window], tracks, lambda t: None if t == 4 else shown[t])
    assert not middle.known.any()


def test_without_windows_or_tracks_nothing_is_known():
    tracks, window = followed()
    found = find_still([], tracks, lambda t: None)
    assert not found.known.any()
    assert len(found.still) == len(tracks)
    window = window._replace(
        tracks=window.tracks[:0],
        residual=window.residual[:, :0],
        middle=np.zeros((0, 2)),
    )
    none = PointTracks(*np.zeros((2, 0), np.int32), np.zeros((0, 2), np.float32), SIZE)
    assert len(find_still([window], none, film(shadow).__getitem__).known) == 0


def test_windows_may_hold_some_of_the_tracks():
    tracks, window = followed()
    part = window._replace(
        tracks=window.tracks[[2, 0]],
        residual=window.residual[:, [2, 0]],
        middle=window.middle[[2, 0]],
    )
    found = find_still([part], tracks, film(shadow).__getitem__)
    assert found.known.tolist() == [True, False, True]


def test_settings_say_what_is_enough():
    shown = film(shadow)
    assert not verdict(shown, StillSettings(least=1.01)).still.any()
    assert not verdict(shown, StillSettings(margin=-1.5)).still.any()
    assert verdict(shown, StillSettings(margin=-1.5)).likely.all()
    assert not verdict(shown, StillSettings(part_margin=-1.5)).likely.any()
    assert not verdict(shown, StillSettings(apart=1e3)).known.any()


def test_what_is_still_has_no_residual():
    _, window = followed()
    found = brought_to_rest(window, np.array([True, False, True]))
    assert np.abs(found.residual[:, [0, 2]]).max() == 0
    np.testing.assert_array_equal(found.residual[:, 1], window.residual[:, 1])
    assert np.abs(window.residual).max() > 0


def test_the_latter_verdict_counts_where_there_is_one():
    first = np.array([True, False, False])
    early = Stillness(np.array([True, True, False]), first, ~first)
    late = Stillness(first, np.zeros(3, bool), first)
    found = late.after(early)
    assert found.known.tolist() == [True, True, False]
    assert found.still.tolist() == [True, False, False]
    assert found.likely.tolist() == [False, True, False]
    found = early.after(late)
    assert found.still.tolist() == [False, False, False]
    assert found.likely.tolist() == [True, True, True]
    assert not nothing_known(3).known.any()

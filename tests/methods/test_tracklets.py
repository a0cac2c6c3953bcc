"""Offline association: whole tracklets, swaps, absences, constraints."""

import dataclasses

import numpy as np
import pytest

from egojax.errors import UsageError
from egojax.methods.association import Columns
from egojax.methods.tracklets import track_offline


def clip_of(rows: list) -> tuple[Columns, np.ndarray]:
    """Rows (frame, 2D id, object, place): look-alikes of one category and look."""
    rng = np.random.default_rng(0)
    frame, segment, true, place = (np.array(c) for c in zip(*rows, strict=True))
    at = np.stack([place, np.zeros(len(rows)), np.ones(len(rows))], 1)
    columns = Columns(
        frame_idx=frame.astype(np.int32),
        segment_id=segment.astype(np.int64),
        category=np.zeros(len(rows), np.int32),
        location=(at + rng.normal(scale=0.02, size=at.shape)).astype(np.float32),
        feature=(1 + rng.normal(scale=0.1, size=(len(rows), 8))).astype(np.float32),
        num_frames=int(frame.max()) + 1,
    )
    return columns, true


def purity(found: np.ndarray, true: np.ndarray) -> bool:
    """Whether tracks and objects are the same partition."""
    pairs = set(zip(found.tolist(), true.tolist(), strict=True))
    return len(pairs) == len(np.unique(found)) == len(np.unique(true))


def test_an_object_keeps_its_track_through_a_long_absence():
    rows = []
    for t in range(200):
        rows.append((t, 1, 1, 0.0))
        if t < 30 or t >= 170:
            rows.append((t, 2 if t < 30 else 9, 2, 0.5))
    columns, true = clip_of(rows)
    found = track_offline(columns)
    assert purity(found.track_id, true)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


@pytest.mark.parametrize("length", [80, 400])
@pytest.mark.parametrize("apart", [0.15, 0.6])
def test_ids_that_swap_between_look_alikes_are_taken_apart(length, apart):
    rows = []
    for t in range(length):
        a, b = (1, 2) if t < length // 2 else (2, 1)
        rows += [(t, a, 1, 0.0), (t, b, 2, apart)]
    columns, true = clip_of(rows)
    assert purity(track_offline(columns).track_id, true)


def test_an_object_that_is_carried_stays_one():
    rows = []
    for t in range(100):
        place = 0.0 if t < 30 else min(1.5, 0.03 * (t - 30))
        rows += [(t, 1, 1, place), (t, 2, 2, -0.8)]
    columns, true = clip_of(rows)
    assert purity(track_offline(columns).track_id, true)


def returning() -> tuple[Columns, np.ndarray]:
    rows = [(t, 1, 1, 0.0) for t in range(20)]
    rows += [(t, 2, 1, 0.0) for t in range(60, 80)]
    return clip_of(rows)


def test_a_persons_word_counts():
    columns, true = returning()
    assert purity(track_offline(columns).track_id, true)
    pair = ((5, 1), (70, 2))
    apart = track_offline(columns, cannot_link=[pair]).track_id
    assert len(np.unique(apart)) == 2
    far = dataclasses.replace(
        columns, location=columns.location + 5.0 * (columns.segment_id == 2)[:, None]
    )
    joined = track_offline(far, must_link=[pair]).track_id
    assert len(np.unique(joined)) == 1


def test_contradictions_are_told():
    columns, _ = returning()
    pair = ((5, 1), (70, 2))
    with pytest.raises(UsageError, match="contradict"):
        track_offline(columns, must_link=[pair], cannot_link=[pair])


def test_renaming_2d_ids_changes_nothing():
    columns, _ = returning()
    other = dataclasses.replace(columns, segment_id=columns.segment_id * 977 + 13)
    np.testing.assert_array_equal(
        track_offline(columns).track_id, track_offline(other).track_id
    )


def test_unknown_places_and_an_empty_clip_are_fine():
    columns, true = returning()
    blind = dataclasses.replace(
        columns, location=np.full_like(columns.location, np.nan)
    )
    assert len(track_offline(blind).track_id) == len(true)
    empty = dataclasses.replace(
        columns,
        **{
            field.name: getattr(columns, field.name)[:0]
            for field in dataclasses.fields(columns)
            if field.name != "num_frames"
        },
    )
    assert len(track_offline(empty).track_id) == 0

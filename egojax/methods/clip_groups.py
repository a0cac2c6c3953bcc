"""Groups of tracks over a clip of any length: in pieces that overlap, joined by tracks.

A piece is grouped by long windows, which tell slow motions from noise; the tracks that
do not last so long, by shorter ones. Bodies of two groupings are one where they share
tracks, or move alike in the same windows; one that has rested meanwhile is known by the
points that were sown among its own. What has moved once stays a body. Tracks that stand
still by their images (`still_points`) are at rest before they are grouped.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from egojax.methods.motion_groups import (
    STATIC,
    UNKNOWN,
    GroupSettings,
    PartOf,
    group_tracks,
    join_alike,
)
from egojax.methods.motion_windows import WindowMotion, windows
from egojax.methods.still_points import Stillness, brought_to_rest, nothing_known
from egojax.methods.track_heirs import inherit
from egojax.types import PointTracks

HOPS = 4  # Windows begin so often within the length of one.
TOGETHER = 0.25  # Share of the smaller of two bodies that is seen beside the other.

# What images say of the tracks of windows.
StillOf = Callable[[Sequence[WindowMotion]], Stillness]


def group_clip(
    tracks: PointTracks,
    num_frames: int,
    *,
    lengths: Sequence[int] = (15, 5),
    piece: int = 80,
    overlap: int = 40,
    settings: GroupSettings | None = None,
    still_of: StillOf | None = None,
    part_of: PartOf | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The group of each track, int32 (N,): `STATIC`, 1, 2, ... or `UNKNOWN`.

    Args:
      num_frames: Of the clip.
      lengths: Frames of windows, the longest first; what one says holds for the next.
      piece: Frames that are grouped at once.
      overlap: Frames that a piece has in common with the next.
      still_of: See `still_points.find_still`; None = tracks are taken as they are.
      part_of: See `motion_groups.group_tracks`.
      progress: Told how many frames are done, of how many.

    Raises:
      ValueError: pieces that do not get on.
    """
    if not 0 <= overlap < piece:
        raise ValueError(f"pieces of {piece} frames that overlap by {overlap}")
    found, heir, done = np.full(len(tracks), UNKNOWN), np.zeros(len(tracks), int), 0
    for start, stop in pieces(num_frames, piece, overlap):
        group = _of_piece(
            tracks, start, stop, lengths, settings, still_of, part_of, seed
        )
        guess = inherit(tracks, found, heir, done, stop)
        found = joined(found, group, guess, together(tracks, group, start, stop))
        # Once more: now the bodies of this piece have names to pass on.
        heir, done = inherit(tracks, found, heir, done, stop), stop
        # What rests beside a body that moves is none of it.
        moving = np.unique(found[group > STATIC])
        heir = np.where((group == STATIC) & np.isin(heir, moving), 0, heir)
        if progress is not None:
            progress(stop, num_frames)
    return renumbered(found).astype(np.int32)


def renumbered(group: np.ndarray) -> np.ndarray:
    """The groups, their bodies 1, 2, ... from the one with most tracks on, int (N,)."""
    bodies, size = np.unique(group[group > STATIC], return_counts=True)
    name = np.arange(max(int(group.max(initial=0)), 0) + 1)
    name[bodies[np.argsort(-size, kind="stable")]] = 1 + np.arange(len(bodies))
    return np.where(group > STATIC, name[np.maximum(group, 0)], group)


def pieces(num_frames: int, piece: int, overlap: int) -> Iterator[tuple[int, int]]:
    """First frames and ends; the last piece is whole, and overlaps by more."""
    start = 0
    while start + piece < num_frames:
        yield start, start + piece
        start = min(start + piece - overlap, num_frames - piece)
    if num_frames:
        yield start, num_frames


def _of_piece(
    tracks: PointTracks,
    start: int,
    stop: int,
    lengths: Sequence[int],
    settings: GroupSettings | None,
    still_of: StillOf | None,
    part_of: PartOf | None,
    seed: int,
) -> np.ndarray:
    group = np.full(len(tracks), UNKNOWN)
    known = nothing_known(len(tracks))
    for length in lengths:
        hop = max(1, length // HOPS)
        some = list(windows(tracks, start, stop, length, hop))
        if some:
            if still_of is not None:
                known = still_of(some).after(known)
                some = [brought_to_rest(window, known.still) for window in some]
            shorter = group_tracks(some, len(tracks), settings, seed, known, part_of)
            group = np.where(group == UNKNOWN, joined(group, shorter), group)
            group = join_alike(some, group, settings)
    return group


def joined(
    found: np.ndarray,
    group: np.ndarray,
    heir: np.ndarray | None = None,
    beside: np.ndarray | None = None,
) -> np.ndarray:
    """The groups so far, and those of one more piece under the same numbers.

    Args:
      found: Int (N,), of the pieces before.
      group: Int (N,), of this one, with numbers of its own.
      heir: Int (N,), see `track_heirs.inherit`; None = nothing is guessed.
      beside: Bool (B, B), by their numbers in `group`, see `together`; None = all.

    Returns:
      Int (N,). A body of this piece is the one before that most of its tracks were of,
      if those are half or more of all that were any body; of two such, the one with
      more. If none of its tracks was of any, it is the one that half or more of all are
      heirs of, but not beside another one that is. Others get new numbers.
    """
    name = np.zeros(group.max(initial=0) + 1, np.int64)
    both = (found > STATIC) & (group > STATIC)
    table = _table(group[both], found[both], len(name))
    everywhere = np.ones((len(name), len(name)), bool)
    _claim(name, table, table.sum(1), everywhere)
    if heir is not None:
        lacks = (group > STATIC) & ~np.isin(group, group[both])
        table = _table(group[lacks], heir[lacks], len(name))
        all_of = table.sum(1)
        table[:, 0] = 0
        _claim(name, table, all_of, everywhere if beside is None else beside)
    fresh = np.flatnonzero((name == 0) & (np.arange(len(name)) > 0))
    name[fresh] = max(found.max(initial=0), 0) + 1 + np.arange(len(fresh))
    moved = np.where(group > STATIC, name[np.maximum(group, 0)], group)
    is_new = (found == UNKNOWN) | ((found == STATIC) & (group > STATIC))
    return np.where(is_new, moved, found)


def _table(rows: np.ndarray, columns: np.ndarray, num_rows: int) -> np.ndarray:
    """How often each pair occurs, int (num_rows, C)."""
    table = np.zeros((num_rows, columns.max(initial=0) + 1), np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


def _claim(
    name: np.ndarray, table: np.ndarray, total: np.ndarray, beside: np.ndarray
) -> None:
    """Names bodies by the column with most in their row, if it is free, in place.

    Args:
      name: Int (B,); 0 = has none yet.
      table: Int (B, C): tracks of each body that were of another one before.
      total: Int (B,): what half of is enough.
      beside: Bool (B, B): which bodies cannot have the same name.
    """
    order = np.argsort(-table.max(1), kind="stable")
    for body in order[order > 0].tolist():
        best = int(table[body].argmax())
        shared = table[body, best]
        is_free = not beside[body, name == best].any()
        if shared and 2 * shared >= total[body] and is_free:
            name[body] = best


def together(
    tracks: PointTracks, group: np.ndarray, start: int, stop: int
) -> np.ndarray:
    """Whether two bodies are seen at the same time in these frames, bool (B, B).

    Args:
      group: Int (N,), bodies from 1 on; row and column 0 are of no meaning.
    """
    count = int(group.max(initial=0)) + 1
    of = np.flatnonzero(group > STATIC)
    first, last = tracks.first[of], tracks.first[of] + tracks.count[of]
    change = np.zeros((count, stop - start + 1), np.int64)
    np.add.at(change, (group[of], np.clip(first - start, 0, stop - start)), 1)
    np.add.at(change, (group[of], np.clip(last - start, 0, stop - start)), -1)
    seen = change.cumsum(1)[:, :-1]
    both = np.minimum(seen[:, None], seen[None]).sum(-1)
    total = seen.sum(-1)
    return both > TOGETHER * np.minimum(total[:, None], total[None])

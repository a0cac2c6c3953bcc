"""Which body a track may be of, because of where it begins.

A point that is sown among those of a body is their heir. So the number of a body passes
from track to track while it rests, or while tracks are too short to tell its motion. It
is a guess, which names a body that moves again; nothing is called a body for it.
"""

import numpy as np
from scipy.spatial import KDTree

from egojax.types import PointTracks

REACH = 3.0  # Times the usual distance of points, up to which they are neighbours.


def inherit(
    tracks: PointTracks,
    body: np.ndarray,
    heir: np.ndarray,
    start: int,
    stop: int,
) -> np.ndarray:
    """The guesses, with those for tracks that begin from `start` on, before `stop`.

    Args:
      body: Int (N,): the body of each track, as far as it is known; else 0 or less.
      heir: Int (N,): the guesses so far; 0 = none.
      start, stop: Frames, taken in order; a call goes on where the one before ended.

    Returns:
      Int (N,). The body of the older point that is nearest to the first place of a
      track (of several, most would take a little from every round shape, again and
      again); a point that was lost in the frame before still counts.
    """
    heir = heir.copy()
    before = _none() if start == 0 else tracks.at(start - 1)
    for frame in range(start, stop):
        seen, places = tracks.at(frame)
        is_new = tracks.first[seen] == frame
        lost = ~np.isin(before[0], seen)
        old = np.concatenate([seen[~is_new], before[0][lost]])
        around = np.concatenate([places[~is_new], before[1][lost]])
        known = np.where(body[old] > 0, body[old], heir[old])
        heir[seen[is_new]] = _nearest(places[is_new], around, known)
        if len(seen):
            before = seen, places
    return heir


def _none() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros((0, 2), np.float32)


def _nearest(new: np.ndarray, around: np.ndarray, body: np.ndarray) -> np.ndarray:
    """The body of the nearest point around, int (n,); 0 = none is near."""
    if len(around) < 2 or not len(new) or not body.any():
        return np.zeros(len(new), np.int64)
    tree = KDTree(around)
    usual = np.median(tree.query(around, k=2)[0][:, 1])
    gap, which = tree.query(new)
    return np.where(gap <= REACH * usual, body[which], 0)

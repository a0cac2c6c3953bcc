"""Given points followed along given flow, forward or backward, lost ones by a guess.

A point is seen as long as the flow that leads on leads back, inside the image and off
motion boundaries. From then on it is not, or not before that holds again for some steps
in a row; its place is where the flow would have taken it.

Source: Sundaram et al. 2010 (dense point trajectories), for when points are lost.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from egojax.methods.dense_flow import motion_boundary, under
from egojax.methods.point_tracking import advance


class FlowStep(NamedTuple):
    """From one frame to the next one that points are followed to."""

    flow: np.ndarray  # float32 (H, W, 2)
    back: np.ndarray  # float32 (H, W, 2)
    boundary: np.ndarray  # bool (H, W), of motion in `flow`.

    @classmethod
    def of(cls, flow: np.ndarray, back: np.ndarray) -> "FlowStep":
        """A step, its boundaries found."""
        return cls(flow, back, motion_boundary(flow))


class Followed(NamedTuple):
    """Points through S + 1 frames."""

    places: np.ndarray  # float32 (S + 1, N, 2), pixels; before a point begins, there.
    seen: np.ndarray  # bool (S + 1, N)


def follow(
    points_xy: np.ndarray,
    begin: np.ndarray,
    steps: Iterable[FlowStep | None],
    tolerance: float,
    again: int = 0,
) -> Followed:
    """Points through the frames that steps lead to.

    Args:
      points_xy: float32 (N, 2), pixels, each in the frame in which it begins.
      begin: int (N,), that frame, counted from 0: that before the first step.
      steps: S of them; None = not known, and all points are lost.
      tolerance: Pixels that forward and backward flow may disagree by.
      again: Steps in a row that a lost point must be right in to be seen again; 0 =
        what is lost stays lost.

    Raises:
      ValueError: not as many beginnings as points.
    """
    here = np.array(points_xy, np.float32).reshape(-1, 2)
    if len(begin) != len(here):
        raise ValueError(f"{len(begin)} beginnings of {len(here)} points")
    enough = again or 1
    right = np.where(begin == 0, enough, -1)  # Steps in a row; -1 = for ever lost.
    places, seen = [here.copy()], [right >= enough]
    for t, step in enumerate(steps, 1):
        goes = begin < t
        kept = np.zeros(goes.sum(), bool)
        if step is not None:
            there, kept = advance(here[goes], step.flow, step.back, tolerance)
            kept &= ~under(step.boundary, here[goes])
            here[goes] = there
        on = right[goes]
        right[goes] = np.where(kept & (on >= 0), on + 1, 0 if again else -1)
        right[begin == t] = enough
        places.append(here.copy())
        seen.append(right >= enough)
    return Followed(np.stack(places), np.stack(seen))

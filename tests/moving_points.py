"""Tracks of points on disks that go their own ways, before a camera that moves."""

import numpy as np

from egojax.types import PointTracks

SIZE = (240, 432)


def moving_points(seed, bodies=2, frames=30, points=300, noise=0.2, still=()):
    """A camera that pans and zooms over a plane, and disks that go their own ways.

    Returns the tracks and the true group of each; bodies in `still` rest.
    """
    rng = np.random.default_rng(seed)
    places = rng.uniform((5, 5), (427, 235), (points, 2))
    centers = np.array([[90, 70], [330, 80], [200, 180]])[:bodies]
    truth = np.zeros(points, int)
    for k, center in enumerate(centers, 1):
        truth[np.linalg.norm(places - center, axis=-1) < 34] = k
    t = np.arange(frames)
    zoom, pan = 1 + 0.003 * t, np.stack([1.5 * t, 2 * np.sin(t / 5)], -1)
    xy = (places[None] - 200) * zoom[:, None, None] + 200 + pan[:, None]
    for k in range(1, bodies + 1):
        speed = rng.uniform(1.0, 1.6, 2) * rng.choice([-1, 1], 2)
        if k not in still:
            turn = 0.01 * t * rng.choice([-1, 1])
            mine = truth == k
            apart = xy[:, mine] - xy[:, mine].mean(1, keepdims=True)
            rotated = np.stack(
                [
                    np.cos(turn)[:, None] * apart[..., 0]
                    - np.sin(turn)[:, None] * apart[..., 1],
                    np.sin(turn)[:, None] * apart[..., 0]
                    + np.cos(turn)[:, None] * apart[..., 1],
                ],
                -1,
            )
            xy[:, mine] += rotated - apart + (speed * t[:, None])[:, None]
    xy = xy + rng.normal(0, noise, xy.shape)
    flat = np.moveaxis(xy, 0, 1).reshape(-1, 2).astype(np.float32)
    first, count = np.zeros(points, np.int32), np.full(points, frames, np.int32)
    return PointTracks(first, count, flat, SIZE), truth

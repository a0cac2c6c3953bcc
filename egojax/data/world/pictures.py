"""Pictures as a camera in a changing light records them: exposure, a lamp.

Both act on linear light. The lamp has no shadow: the light at a place is multiplied by
how near it is.
"""

import numpy as np

from egojax.data.world.faults import EXPOSURE, LAMP, Imperfections, drift, random
from egojax.ops.camera import pixel_centers, unproject
from egojax.types import Clip, Source

GAMMA = 2.2
EXPOSURE_FRAMES = 15.0  # In which the exposure becomes another.
TINT = np.array([1.15, 1.0, 0.75], np.float32)  # Of the lamp: warm.
REACH = 0.5  # Of the distance to the lamp's place: how far it lights.
FAR = 1e6  # Where a pixel without depth lies.
SWITCH = 2.0  # Frames that switching takes.


def faulty(frames: Source, truth: Clip, faults: Imperfections, seed: int) -> Source:
    """The frames of a clip with the faults of their pictures.

    Args:
      frames: uint8 (H, W, 3); None stays None.
      truth: Of the clip; for the lamp, with depth and cameras.
      faults: `exposure_stops` and `lamp` count.
      seed: The same seed gives the same faults.
    """
    if not (faults.exposure_stops or faults.lamp):
        return frames
    num = len(frames)
    steps = drift(random(seed, EXPOSURE), num, EXPOSURE_FRAMES, 1)[:, 0]
    gains = 2.0 ** (faults.exposure_stops * steps)
    lamp = _Lamp(truth, faults.lamp, seed) if faults.lamp else None

    def read(t: int) -> np.ndarray | None:
        picture = frames[t]
        if picture is None:
            return None
        light = (picture.astype(np.float32) / 255.0) ** GAMMA * np.float32(gains[t])
        if lamp is not None:
            light *= lamp.share(t)
        encoded = np.clip(light, 0.0, 1.0) ** np.float32(1.0 / GAMMA)
        return np.rint(255.0 * encoded).astype(np.uint8)

    return Source(read, num)


class _Lamp:
    """A lamp that is on in the middle part of a clip, at a place seen there."""

    def __init__(self, truth: Clip, strength: float, seed: int):
        self._truth, self._strength = truth, strength
        rng, num = random(seed, LAMP), truth.num_frames
        times = np.arange(num)
        on, off = rng.uniform([0.2, 0.6], [0.4, 0.8]) * num
        self._on = 0.5 * (
            np.tanh((times - on) / SWITCH) - np.tanh((times - off) / SWITCH)
        )
        points, depth = self._seen(num // 2)
        solid = np.argwhere(np.isfinite(depth))
        row, column = solid[rng.integers(len(solid))]
        self._at, self._reach = points[row, column], REACH * float(depth[row, column])

    def share(self, t: int) -> np.ndarray:
        """What the light of frame t is multiplied by, float32 (H, W, 3)."""
        points, _ = self._seen(t)
        apart = np.linalg.norm(points - self._at, axis=-1) / self._reach
        near = np.exp(-0.5 * apart**2)[..., None]
        return (1.0 + self._strength * self._on[t] * near * TINT).astype(np.float32)

    def _seen(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """World points of the pixels, far away where there is no depth; the depth."""
        assert self._truth.depth is not None and self._truth.camera is not None
        depth, camera = self._truth.depth[t], self._truth.camera[t]
        z = np.where(np.isfinite(depth), depth, FAR).reshape(-1)
        xy = pixel_centers(depth.shape).reshape(-1, 2)
        points = np.asarray(unproject(camera, xy, z.astype(np.float32)))
        return points.reshape(*depth.shape, 3), depth

"""Where the head is and where it looks (host, NumPy); real paths fitted to the room."""

import numpy as np

from egojax.errors import UsageError
from egojax.ops.camera import camera_centers

EYE_HEIGHT = 1.56
LOWEST = 1.0  # That a real head may bend down to, metres.


def follow(targets: np.ndarray, fps: float, seconds: float) -> np.ndarray:
    """A critically damped follower of (T, D) targets: smooth, quick, no overshoot."""
    rate = 2.0 / seconds
    step, state, speed = 1.0 / fps, targets[0].astype(float), np.zeros(targets.shape[1])
    out = np.empty(targets.shape)
    for t, target in enumerate(targets):
        decay = np.exp(-rate * step)
        offset = state - target
        push = (speed + rate * offset) * step
        state = target + (offset + push) * decay
        speed = (speed - rate * push) * decay
        out[t] = state
    return out


def sway(
    rng: np.random.Generator, num_frames: int, fps: float, dims: int
) -> np.ndarray:
    """Unit-size wander (T, dims): a few incommensurate slow waves for each axis."""
    t = np.arange(num_frames)[:, None, None] / fps
    freq = rng.uniform(0.12, 1.1, (1, dims, 6))
    phase = rng.uniform(0.0, 2 * np.pi, (1, dims, 6))
    return (np.sin(2 * np.pi * freq * t + phase) / (0.4 + 2.0 * freq)).sum(-1) / 2.5


def bobbing(body_xy: np.ndarray, fps: float) -> np.ndarray:
    """Vertical movement of a walking head, (T,) metres: grows with the speed."""
    speed = (
        np.linalg.norm(np.gradient(body_xy, axis=0), axis=-1) * fps
        if len(body_xy) > 1
        else np.zeros(1)
    )
    cycle = 2 * np.pi * 1.9 * np.arange(len(body_xy)) / fps
    return 0.018 * np.clip(speed / 0.8, 0.0, 1.0) * np.sin(cycle)


def look_at(eye: np.ndarray, target: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """World-to-camera poses (T, 4, 4), float64, OpenCV axes.

    Args:
      eye: (T, 3)
      target: (T, 3), not straight above or below the eye.
      turn: (T, 3) small extra pitch, yaw and roll, radians.
    """
    z = target - eye
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    rot = np.stack([x, np.cross(z, x), z], -2)  # Rows: camera axes in the world.
    rot = _small_turn(turn) @ rot
    return rigid(rot, -np.einsum("tij,tj->ti", rot, eye))


def rigid(rot: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Poses (*T, 4, 4) from rotations and shifts."""
    pose = np.broadcast_to(np.eye(4), (*rot.shape[:-2], 4, 4)).copy()
    pose[..., :3, :3], pose[..., :3, 3] = rot, shift
    return pose


def fit_path_to_room(
    w2c: np.ndarray, *, reach: float = 0.95, eye_height: float = EYE_HEIGHT
) -> tuple[np.ndarray, tuple[float, float]]:
    """Turns, scales and shifts a real head path so that a room fits around it.

    Up is the direction that the cameras' x axes agree to be level with; the yaw is
    chosen so that the wearer looks most often at the worktop in the north. One scale
    for all axes, small enough for the head to stay upright in the room.

    Args:
      w2c: (T, 4, 4) world-to-camera, OpenCV axes, any unit and orientation.
      reach: Half of the longer side of the floor that the path may cover, metres.
      eye_height: Of the median position.

    Returns:
      The poses in the room, and the half sizes (x, y) of the free floor around them.

    Raises:
      UsageError: The poses are not (T, 4, 4), finite and rigid.
    """
    _check_path(w2c)
    rot, at = w2c[:, :3, :3], camera_centers(w2c)
    turn = _level(rot)
    at, rot = at @ turn.T, rot @ turn.T
    look = rot[:, 2, :2].sum(0)
    yaw = np.pi / 2 - np.arctan2(look[1], look[0])
    spin = np.array(
        [[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1.0]]
    )
    at, rot = at @ spin.T, rot @ spin.T
    low, high = at.min(0), at.max(0)
    size = high - low
    middle = np.array([*(low + high)[:2] / 2, np.median(at[:, 2])])
    below, above = max(middle[2] - low[2], 1e-9), max(high[2] - middle[2], 1e-9)
    across = max(size[:2].max(), 1e-9)
    scale = min(2 * reach / across, (eye_height - LOWEST) / below, 0.5 / above)
    at = (at - middle) * scale + np.array([0.0, 0.0, eye_height])
    half = np.maximum(size[:2] * scale / 2 + 0.02, (0.75, 0.55))
    return rigid(rot, -np.einsum("tij,tj->ti", rot, at)), (
        float(half[0]),
        float(half[1]),
    )


def _check_path(w2c: np.ndarray) -> None:
    if w2c.ndim != 3 or w2c.shape[1:] != (4, 4) or not len(w2c):
        raise UsageError(
            f"camera path: found shape {w2c.shape}, expected (frames, 4, 4)"
        )
    bad = ~np.isfinite(w2c).all((1, 2))
    gram = np.einsum("tij,tkj->tik", w2c[:, :3, :3], w2c[:, :3, :3])
    bad |= np.abs(gram - np.eye(3)).max((1, 2)) > 1e-3
    if bad.any():
        raise UsageError(
            f"camera path: pose {int(np.argmax(bad))} and {int(bad.sum()) - 1} others "
            "are not rigid or not finite; give world-to-camera matrices without scale"
        )


def _level(rot: np.ndarray) -> np.ndarray:
    """The rotation that brings the path's up to +z."""
    side = rot[:, 0]
    _, vectors = np.linalg.eigh(side.T @ side - 0.02 * rot[:, 1].T @ rot[:, 1])
    up = vectors[:, 0]
    up = up * -np.sign(np.sum(rot[:, 1] @ up) + 1e-12)  # The cameras' y points down.
    x = np.cross([0.0, 1.0, 0.0] if abs(up[1]) < 0.9 else [1.0, 0.0, 0.0], up)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(up, x), up])


def _small_turn(turn: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) from pitch, yaw, roll: Rz Ry Rx."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(turn).T, np.sin(turn).T
    o, one = np.zeros_like(cx), np.ones_like(cx)
    shape = (-1, 3, 3)
    rx = np.stack([one, o, o, o, cx, -sx, o, sx, cx], -1).reshape(shape)
    ry = np.stack([cy, o, sy, o, one, o, -sy, o, cy], -1).reshape(shape)
    rz = np.stack([cz, -sz, o, sz, cz, o, o, o, one], -1).reshape(shape)
    return rz @ ry @ rx

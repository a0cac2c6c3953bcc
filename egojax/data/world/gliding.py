"""Clips for motion segmentation: things that glide about above a table (host).

One to four things turn and glide, each by itself, without a hand, before a head that
sways; all else rests. Paths are drawn until no two things touch and most of each is in
view.
"""

import numpy as np

from egojax.data.world import body, head, objects, state
from egojax.data.world.benchmark import seen_by_boxes
from egojax.data.world.clip import make_clip
from egojax.data.world.objects import Model
from egojax.data.world.room import Room, make_room
from egojax.data.world.state import World
from egojax.data.world.unroll import Script
from egojax.errors import UsageError
from egojax.types import Clip

LENGTH, FPS = 80, 30.0
MOST = 4  # Things.
GLIDING = ("kettle", "teapot", "pan", "pot", "bowl", "box", "board", "jar", "plate")
STATION = 1  # The table.
BACK = 0.1  # Metres from where the wearer stands, away from the table.
REACH = np.array([0.12, 0.2, 0.06])  # Metres that things sway, each way.
LOWEST = 0.03  # Above the table.
SEEN = 0.9  # Of frames, in which each thing is in view, at least.
MAX_TRIES = 300


def gliding_world(seed: int, num_frames: int = LENGTH) -> World:
    """The world of a seed, of any length.

    Raises:
      UsageError: no paths were found on which things do not touch so long.
    """
    rng = np.random.default_rng([seed, 31])
    room = make_room(rng)
    names = rng.permutation(GLIDING)[: rng.integers(1, MOST + 1)]
    models = [objects.build(str(name), rng) for name in names]
    extents = np.stack([m.shape.extent for m in models]).astype(float)
    for attempt in range(MAX_TRIES):
        draw = np.random.default_rng([seed, 32, attempt])
        poses = _paths(draw, room, models, num_frames)
        if poses is None:
            continue
        w2c = _head(draw, room, poses)
        hidden = np.zeros(poses.shape[:2], bool)
        if seen_by_boxes(w2c, poses, extents, hidden).mean(0).min() >= SEEN:
            return state.assemble(seed, FPS, room, models, _script(w2c, poses))
    raise UsageError(
        f"gliding world {seed}: no paths of {MAX_TRIES} fit, of {num_frames} frames"
    )


def gliding_clip(
    seed: int, size_hw: tuple[int, int] = (240, 432), num_frames: int = LENGTH
) -> Clip:
    """The clip of a seed, truth included, 30 frames a second."""
    return make_clip(gliding_world(seed, num_frames), size_hw=size_hw)


def _paths(
    rng: np.random.Generator, room: Room, models: list[Model], num_frames: int
) -> np.ndarray | None:
    """Poses (T, K, 4, 4) of things that never touch, or None."""
    table = room.surfaces[STATION]
    low, high = np.array(table.low), np.array(table.high)
    centers, turns, radii = [], [], []
    for model in models:
        radius = np.linalg.norm(model.shape.vertices, axis=-1).max()
        spot = np.array([*rng.uniform(low + 0.1, high - 0.1), table.z + LOWEST])
        spot[2] += radius + REACH[2]
        centers.append(spot + REACH * head.sway(rng, num_frames, FPS, 3))
        turns.append(_turns(rng, num_frames))
        radii.append(radius)
    for k in range(len(models)):
        for other in range(k):
            gap = np.linalg.norm(centers[k] - centers[other], axis=-1)
            if gap.min() < 0.8 * (radii[k] + radii[other]):
                return None
    return head.rigid(np.stack(turns, 1), np.stack(centers, 1))


def _turns(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """Rotations (T, 3, 3): about the upright axis, and tilting a little."""
    yaw = rng.uniform(0, 2 * np.pi) + 0.6 * head.sway(rng, num_frames, FPS, 1)[:, 0]
    tilt = 0.25 * head.sway(rng, num_frames, FPS, 2)
    return _about(2, yaw) @ _about(0, tilt[:, 0]) @ _about(1, tilt[:, 1])


def _about(axis: int, angle: np.ndarray) -> np.ndarray:
    out = np.tile(np.eye(3), (len(angle), 1, 1))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out[:, a, a] = out[:, b, b] = np.cos(angle)
    out[:, b, a], out[:, a, b] = np.sin(angle), -np.sin(angle)
    return out


def _head(rng: np.random.Generator, room: Room, poses: np.ndarray) -> np.ndarray:
    """A head that stands before the table, looks at the things, and sways."""
    station, num_frames = room.stations[STATION], len(poses)
    eye = np.array([*station.stand, 0.85 * head.EYE_HEIGHT]) - (BACK, 0, 0)
    eye = eye + (0.06, 0.1, 0.03) * head.sway(rng, num_frames, FPS, 3)
    middle = poses[:, :, :3, 3].mean((0, 1))
    target = middle + (0.03, 0.08, 0.04) * head.sway(rng, num_frames, FPS, 3)
    turn = head.sway(rng, num_frames, FPS, 3) * (0.02, 0.03, 0.04)
    return head.look_at(eye, head.follow(target, FPS, 0.3), turn)


def _script(w2c: np.ndarray, poses: np.ndarray) -> Script:
    """Things that move, in a room where nothing else does; the arm is far below."""
    num_frames, count = poses.shape[:2]
    links = len(body.arm_shapes(np.random.default_rng(0)))
    away = head.rigid(np.eye(3), np.array([0.0, 0.0, -9.0]))
    return Script(
        w2c=w2c,
        object_poses=poses,
        drawer_poses=np.broadcast_to(np.eye(4), (num_frames, 4, 4)),
        arm_poses=np.broadcast_to(away, (num_frames, links, 4, 4)),
        motion=np.full((num_frames, count), 2, np.int8),
        shut_in=np.zeros((num_frames, count), bool),
        light=np.ones((num_frames, 2), np.float32),
    )

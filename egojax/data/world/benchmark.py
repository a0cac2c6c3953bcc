"""The benchmark's clips: look-alikes, many absences, one of them very long (host).

A clip of the benchmark has 600 frames and 24 objects, 8 triples of exact copies, half
of the triples within 0.4 m. Scripts are drawn until the absences, found by projecting
the objects' boxes, are as many and as long as they must be.
"""

from typing import NamedTuple

import numpy as np

from egojax.data.world import objects, script, state
from egojax.data.world.clip import make_clip
from egojax.data.world.plan import Conflict, Visit
from egojax.data.world.room import make_room
from egojax.data.world.state import FOCAL, World
from egojax.errors import UsageError
from egojax.types import Clip

NUM_FRAMES, NUM_TRIPLES = 600, 8
ABSENCES, LONGEST = (27, 42), (250, 360)  # Per clip; frames.
HANDLED = 3  # Objects that are moved while they are seen, at least.
MOST_BY_BOXES = 37  # Hands and things in front add a few that boxes do not show.
MIN_ABSENCE = 10  # Frames; shorter ones are flicker at the border of the image.
ASPECT = 256 / 456
MAX_TRIES = 1500  # Seed 117 needs over 300; most need under 50.


class Absence(NamedTuple):
    """An object that was seen, is not, and is seen again."""

    obj: int  # 0 .. K - 1.
    start: int  # First frame without it.
    length: int  # Frames.


def find_absences(seen: np.ndarray, min_frames: int = MIN_ABSENCE) -> list[Absence]:
    """The gaps of at least `min_frames` between sightings, `seen` being bool (T, K)."""
    found = []
    for obj in range(seen.shape[1]):
        at = np.flatnonzero(seen[:, obj])
        gaps = np.diff(at) - 1
        for k in np.flatnonzero(gaps >= min_frames):
            found.append(Absence(obj, int(at[k]) + 1, int(gaps[k])))
    return found


def seen_by_boxes(
    w2c: np.ndarray, object_poses: np.ndarray, extents: np.ndarray, shut_in: np.ndarray
) -> np.ndarray:
    """bool (T, K): a point of the object's box is in view and the drawer is not shut.

    Cheap and without rendering: what other objects hide counts as seen.
    """
    grid = np.stack(np.meshgrid(*[[0.1, 0.5, 0.9]] * 3, indexing="ij"), -1).reshape(
        -1, 3
    )
    low, high = extents[:, 0], extents[:, 1]
    points = low[:, None] + grid * (high - low)[:, None]
    pose = w2c[:, None] @ object_poses
    cam = pose[..., :3, :3] @ points.swapaxes(1, 2) + pose[..., :3, 3:]
    x, y, z = np.moveaxis(cam, -2, 0)
    inside = (np.abs(x) * FOCAL < 0.5 * z) & (np.abs(y) * FOCAL < 0.5 * ASPECT * z)
    inside &= z > 0.05
    return inside.any(-1) & ~shut_in


def world_sightings(world: World) -> np.ndarray:
    """`seen_by_boxes` of a world."""
    poses = world.body_poses[:, 1 : world.num_objects + 1]
    return seen_by_boxes(world.w2c, poses, world.extents, world.shut_in)


def bench_world(seed: int) -> World:
    """The benchmark's world of a seed."""
    rng = np.random.default_rng([seed, 11])
    room = make_room(rng)
    names = rng.permutation([*state.SMALL, "plate", "kettle", "teapot", "cloth"])[
        :NUM_TRIPLES
    ]
    small = sorted(names, key=lambda n: n not in state.SMALL)  # Those that fit closely.
    models = [m for n in small for m in [objects.build(str(n), rng)] * 3]
    extents = np.stack([m.shape.extent for m in models]).astype(float)
    clusters = [range(3 * k, 3 * k + 3) for k in range(NUM_TRIPLES // 2)]
    stations = [k % 3 for k in range(NUM_TRIPLES // 2) for _ in range(3)]
    stations += [k % 3 for k in range(3 * NUM_TRIPLES // 2)]
    for attempt in range(MAX_TRIES):
        draw = np.random.default_rng([seed, 12, attempt])
        try:
            story = script.make_script(
                draw,
                room,
                models,
                stations,
                NUM_FRAMES,
                30.0,
                clusters=clusters,
                visits=_visits(draw),
            )
        except Conflict:
            continue
        seen = seen_by_boxes(story.w2c, story.object_poses, extents, story.shut_in)
        if meets(seen, story.motion == 2):
            return state.assemble(seed, 30.0, room, models, story)
    raise UsageError(f"benchmark world {seed}: no script of {MAX_TRIES} fits")


def meets(seen: np.ndarray, moving: np.ndarray) -> bool:
    """Whether sightings and motion, bool (T, K), hold what the benchmark promises."""
    found = find_absences(seen)
    longest = max((a.length for a in found), default=0)
    many = ABSENCES[0] <= len(found) <= MOST_BY_BOXES
    long_enough = LONGEST[0] <= longest <= LONGEST[1] - 20
    handled = (moving & seen).any(0).sum() >= HANDLED
    unseen = (moving & ~seen).any()
    return many and long_enough and bool(handled & unseen & seen.any(0).all())


def bench_clip(seed: int, size_hw: tuple[int, int] = (256, 456)) -> Clip:
    """The benchmark's clip of a seed, truth included."""
    return make_clip(bench_world(seed), size_hw=size_hw)


def _visits(rng: np.random.Generator) -> list[Visit]:
    """Two rounds of all stations in a drawn order."""
    order = [int(s) for s in rng.permutation(3)]
    share = rng.uniform(0.85, 1.15, 6)
    share[order.index(0)] *= 1.45  # Long enough for the drawer.
    cuts = np.round(np.cumsum(share) / share.sum() * NUM_FRAMES).astype(int)
    starts = np.concatenate([[0], cuts[:-1]])
    return [
        Visit(s, int(a), int(b))
        for s, a, b in zip(order * 2, starts, cuts, strict=True)
    ]

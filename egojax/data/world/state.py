"""A whole world as arrays: bodies, textures and where everything is at every frame.

Everything is a rigid body: 0 is the room, 1..K the objects (their label), K + 1 the
drawer, and the rest the links of the wearer's arm. Made on the host with NumPy from the
seed alone, so that a seed gives the same world on every device.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from egojax.data.world import body, head, script, textures
from egojax.data.world.objects import CATEGORIES, Model, build
from egojax.data.world.plan import Conflict
from egojax.data.world.room import Room, make_room
from egojax.data.world.shapes import Shape
from egojax.data.world.unroll import Script
from egojax.errors import UsageError

CATEGORY_NAMES = tuple(CATEGORIES)
FOCAL = 0.56  # Of the image width: 83 degrees across, as head cameras have.
SMALL = ("mug", "tumbler", "can", "jar", "bottle", "fruit", "bowl", "box")
MAX_TRIES = 200


@dataclasses.dataclass(frozen=True)
class World:
    """Geometry (in body axes), looks, and poses over time. Metres, seconds, z up."""

    seed: int
    fps: float
    vertices: np.ndarray  # float32 (V, 3)
    vertex_body: np.ndarray  # int32 (V,)
    faces: np.ndarray  # int32 (F, 3), sorted by body.
    face_body: np.ndarray  # int32 (F,)
    face_uv: np.ndarray  # float32 (F, 3, 2)
    face_normals: np.ndarray  # float32 (F, 3, 3)
    face_material: np.ndarray  # int32 (F,)
    tiles: np.ndarray  # float32 (M, TILE, TILE, 3)
    looks: np.ndarray  # float32 (M, 3): gloss, metres a tile, glow.
    body_poses: np.ndarray  # float64 (T, B, 4, 4), body to world.
    w2c: np.ndarray  # float64 (T, 4, 4)
    categories: np.ndarray  # int32 (K,), of objects 1..K.
    extents: np.ndarray  # float64 (K, 2, 3), boxes in object axes.
    motion: np.ndarray  # int8 (T, K): 0 at rest, 1 moved before, 2 moving.
    shut_in: np.ndarray  # bool (T, K): lies in the closed drawer.
    light: np.ndarray  # float32 (T, 2): strength of the window and of the lamp.
    light_at: np.ndarray  # float32 (2, 3)

    @property
    def num_frames(self) -> int:
        return len(self.w2c)

    @property
    def num_objects(self) -> int:
        return len(self.categories)

    @property
    def static_bodies(self) -> np.ndarray:
        """bool (B,): bodies that rest from the first frame to the last."""
        step = np.abs(self.body_poses - self.body_poses[:1]).max((0, 2, 3))
        return np.asarray(step < 1e-9)


def make_world(
    seed: int,
    num_frames: int = 120,
    *,
    fps: float = 30.0,
    num_objects: int = 18,
    lookalikes: int = 2,
    camera_path: np.ndarray | None = None,
) -> World:
    """The world of a seed.

    Args:
      num_objects: At least 1, at most 32.
      lookalikes: How many triples of identical objects are among them.
      camera_path: World-to-camera poses (num_frames, 4, 4) to look from instead of a
        drawn head path; any similarity frame (`head.fit_path_to_room` places it).

    Raises:
      UsageError: A size is out of range, or the path is no path.
    """
    _check(num_frames, fps, num_objects, lookalikes, camera_path)
    rng = np.random.default_rng([seed, 1])
    half = (0.75, 0.55)
    if camera_path is not None:
        camera_path, half = head.fit_path_to_room(np.asarray(camera_path, float))
    room = make_room(rng, *half)
    models = draw_models(rng, num_objects, lookalikes)
    stations = [k % len(room.stations) for k in range(num_objects)]
    for attempt in range(MAX_TRIES):
        try:
            story = script.make_script(
                np.random.default_rng([seed, 2, attempt]),
                room,
                models,
                stations,
                num_frames,
                fps,
                camera_path=camera_path,
            )
        except Conflict:
            continue
        return assemble(seed, fps, room, models, story)
    raise UsageError(
        f"world of seed {seed}: {num_objects} objects found no room; take fewer"
    )


def draw_models(rng: np.random.Generator, count: int, lookalikes: int) -> list[Model]:
    """Objects of all categories in turn; the first 3 * lookalikes are exact triples."""
    names = list(rng.permutation(CATEGORY_NAMES))
    models: list[Model] = []
    for name in rng.permutation(SMALL)[:lookalikes]:
        models += [build(str(name), rng)] * 3
    while len(models) < count:
        models.append(build(str(names[len(models) % len(names)]), rng))
    return models[:count]


def assemble(
    seed: int, fps: float, room: Room, models: Sequence[Model], story: Script
) -> World:
    """Joins room, objects, drawer and arm to one set of arrays."""
    rng = np.random.default_rng([seed, 3])
    bodies: list[Shape] = [room.shape, *(m.shape for m in models), room.drawer]
    bodies += body.arm_shapes(rng)
    material_of = {
        m: k
        for k, m in enumerate(dict.fromkeys(m for b in bodies for m in b.materials))
    }
    starts = np.cumsum([0] + [len(b.vertices) for b in bodies[:-1]])
    num_frames = len(story.w2c)
    room_poses = np.broadcast_to(np.eye(4), (num_frames, 1, 4, 4))
    poses = [
        room_poses,
        story.object_poses,
        story.drawer_poses[:, None],
        story.arm_poses,
    ]
    return World(
        seed=seed,
        fps=fps,
        vertices=np.concatenate([b.vertices for b in bodies]),
        vertex_body=_repeat(len(b.vertices) for b in bodies),
        faces=np.concatenate(
            [b.faces + s for b, s in zip(bodies, starts, strict=True)]
        ).astype(np.int32),
        face_body=_repeat(len(b.faces) for b in bodies),
        face_uv=np.concatenate([b.uv for b in bodies]),
        face_normals=np.concatenate([b.normals for b in bodies]),
        face_material=np.concatenate(
            [
                np.array([material_of[m] for m in b.materials], np.int32)[b.material]
                for b in bodies
            ]
        ),
        tiles=textures.bake(list(material_of), seed),
        looks=np.array([(m.gloss, m.scale, m.glow) for m in material_of], np.float32),
        body_poses=np.concatenate(poses, 1),
        w2c=story.w2c,
        categories=np.array(
            [CATEGORY_NAMES.index(m.category) for m in models], np.int32
        ),
        extents=np.stack([m.shape.extent.astype(float) for m in models]),
        motion=story.motion,
        shut_in=story.shut_in,
        light=story.light,
        light_at=np.array([room.window, room.lamp], np.float32),
    )


def _repeat(counts) -> np.ndarray:
    counts = list(counts)
    return np.repeat(np.arange(len(counts)), counts).astype(np.int32)


def _check(
    num_frames: int,
    fps: float,
    num_objects: int,
    lookalikes: int,
    path: np.ndarray | None,
) -> None:
    problems = []
    if num_frames < 1:
        problems.append(f"num_frames: found {num_frames}, expected at least 1")
    if not 1.0 <= fps <= 1000.0:
        problems.append(f"fps: found {fps}, expected 1 to 1000")
    if not 1 <= num_objects <= 32:
        problems.append(f"num_objects: found {num_objects}, expected 1 to 32")
    if not 0 <= 3 * lookalikes <= max(num_objects, 2) or lookalikes > 8:
        problems.append(
            f"lookalikes: found {lookalikes} triples among {num_objects} objects, "
            "expected at most 8 that fit"
        )
    if path is not None and len(path) != num_frames:
        problems.append(f"camera_path: found {len(path)} poses for {num_frames} frames")
    if problems:
        raise UsageError.from_problems(problems)

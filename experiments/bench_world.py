"""The procedural world: time a frame, against casting rays with Embree.

The reference is what one would write with a ray caster at hand: the scene's tree built
anew each frame, one ray a pixel for ids and depth, one for the depth of what never
moves, and one for every object alone, for its amodal mask.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from egojax.data.world import make_clip, make_world
from egojax.data.world.state import World
from egojax.ops.surface import EmbreeScene
from egojax.types import Camera, Clip, Mesh

SIZE = (256, 456)
NUM_OBJECTS = 30
NUM_FRAMES = 40
GEOMETRY = ("labels", "depth", "static_depth", "masks", "actor", "camera")
EVERYTHING = (*GEOMETRY, "frames", "flow_fwd", "flow_bwd", "tracks", "objects")


class Caster:
    """Ids, depths and amodal masks of a world by Embree."""

    def __init__(self, world: World, clip: Clip):
        self._world, self._cameras = world, clip.sources["camera"]
        self._static = EmbreeScene(
            self._posed(0, np.flatnonzero(world.static_bodies[world.face_body]))
        )
        self._alone = [
            EmbreeScene(self._part(np.flatnonzero(world.face_body == body)))
            for body in range(1, world.num_objects + 1)
        ]

    def _part(self, faces: np.ndarray) -> Mesh:
        return Mesh(self._world.vertices, self._world.faces[faces])

    def _posed(self, t: int, faces: np.ndarray) -> Mesh:
        poses = self._world.body_poses[t][self._world.vertex_body]
        vertices = np.einsum("vij,vj->vi", poses[:, :3, :3], self._world.vertices)
        return Mesh(
            (vertices + poses[:, :3, 3]).astype(np.float32), self._world.faces[faces]
        )

    def __call__(self, t: int) -> tuple[np.ndarray, ...]:
        """Labels, depth, depth of what never moves, and masks (K, H, W) of a frame."""
        camera: Camera = self._cameras[t]
        everything = np.arange(len(self._world.faces))
        depth = EmbreeScene(self._posed(t, everything)).depth(camera, cull=True)
        static = self._static.depth(camera, cull=True)
        alone = np.stack(
            [self._object(t, body, camera) for body in range(len(self._alone))]
        )
        labels = np.where(
            np.isfinite(depth) & (alone.min(0) <= depth * (1 + 1e-5)),
            alone.argmin(0) + 1,
            0,
        )
        return labels, depth, static, np.isfinite(alone)

    def _object(self, t: int, body: int, camera: Camera) -> np.ndarray:
        w2c = np.asarray(camera.w2c, np.float64) @ self._world.body_poses[t][body + 1]
        return self._alone[body].depth(dataclasses.replace(camera, w2c=w2c), cull=True)


def reader(clip: Clip, names: Sequence[str]) -> Callable[[int], list[Any]]:
    """Reads these layers of one frame."""
    truth = clip if clip.truth is None else clip.truth
    sources = [truth.sources[name] for name in names]
    return lambda t: [source[t] for source in sources]


def a_frame(read: Callable[[int], Any], frames: Sequence[int]) -> float:
    """Milliseconds a frame, the frames read in order."""
    start = time.perf_counter()
    for t in frames:
        read(t)
    return 1e3 * (time.perf_counter() - start) / len(frames)


def rows() -> Iterator[dict[str, Any]]:
    """Geometric layers, and everything."""
    world = make_world(0, NUM_FRAMES + 2, num_objects=NUM_OBJECTS)
    caster = Caster(world, make_clip(world, size_hw=SIZE))
    for name, layers, bar in (
        ("geometric layers", GEOMETRY, 10),
        ("everything", EVERYTHING, 3),
    ):
        read = reader(make_clip(world, size_hw=SIZE), layers)
        start = time.perf_counter()
        labels = np.asarray(read(1)[0])
        first_s = time.perf_counter() - start
        ms = a_frame(read, range(2, NUM_FRAMES + 1))
        row = {
            "name": f"world, {NUM_OBJECTS} objects {SIZE[1]} x {SIZE[0]}, {name}",
            "ours_ms": ms,
            "compile_s": first_s - 1e-3 * ms,
            "note": f"{1e3 / ms:.1f} frames/s (bar {bar}), {len(world.faces)} faces",
        }
        if layers is GEOMETRY:
            row["reference_ms"] = a_frame(caster, range(2, 8))
            row["ratio_reference"] = row["reference_ms"] / ms
            row["error"] = float((caster(1)[0] != labels).mean())
        yield row

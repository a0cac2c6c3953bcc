"""The procedural world as a `Clip`: every layer lazy, exact, and rendered once."""

import collections
import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from egojax.data.world import render, shade
from egojax.data.world.render import Layers, View
from egojax.data.world.state import CATEGORY_NAMES, FOCAL, World, make_world
from egojax.types import Camera, Clip, Mesh, Objects, Segments, Source, Tracks

T = TypeVar("T")
KEPT = 4  # Frames whose layers stay in memory.
NUM_TRACKS = 256
QUERY_FRAMES = 8  # Frames in which the tracked points are picked.


class Renderer:
    """Renders frames of a world on demand and remembers the last few."""

    def __init__(self, world: World, size_hw: tuple[int, int]):
        self.world, self.size_hw = world, size_hw
        self._scene = render.make_scene(world, size_hw)
        self._paint: shade.Paint | None = None
        self._points: render.Points | None = None
        self._kept: collections.OrderedDict[tuple[str, int], Any] = (
            collections.OrderedDict()
        )
        self._lock = threading.RLock()
        self.intrinsics = intrinsics(size_hw)

    def view(self, t: int) -> View:
        """The poses of frame t; the first and last frame hold beyond the ends."""
        t = min(max(t, 0), self.world.num_frames - 1)
        poses = self.world.body_poses[t], self.world.w2c[t]
        body, w2c = (np.asarray(p, np.float32) for p in poses)
        return View(jnp.asarray(self.intrinsics), jnp.asarray(w2c), jnp.asarray(body))

    def layers(self, t: int) -> Layers:
        """The geometric layers of frame t."""
        return self._once("layers", t, lambda: render.draw(self._scene, self.view(t)))

    def frame(self, t: int) -> np.ndarray:
        """The picture, uint8 (H, W, 3)."""
        return self._once("frame", t, lambda: self._photograph(t))

    def flow(self, t: int, step: int) -> np.ndarray | None:
        """Flow from frame t to frame t + step; None past the ends of the clip."""
        if not 0 <= t + step < self.world.num_frames:
            return None
        views = self.view(t), self.view(t + step)
        return np.asarray(render.flow(self._scene, self.layers(t), *views))

    def tracks(self, t: int) -> Tracks:
        """Where the tracked points are in frame t."""
        points = self._tracked()
        xy, seen = render.follow_points(
            self._scene, self.layers(t), self.view(t), points
        )
        return Tracks(tracks_xy=np.asarray(xy), visibility=np.asarray(seen))

    def _photograph(self, t: int) -> np.ndarray:
        with self._lock:
            if self._paint is None:
                self._paint = shade.make_paint(self.world)
        key = jax.random.fold_in(jax.random.key(self.world.seed), t)
        light = jnp.asarray(self.world.light[t])
        views = self.view(t), self.view(t - 1)
        return np.asarray(
            shade.photograph(
                self._scene, self._paint, self.layers(t), *views, light, key
            )
        )

    def _tracked(self) -> render.Points:
        with self._lock:
            if self._points is None:
                frames = np.linspace(0, self.world.num_frames - 1, QUERY_FRAMES).astype(
                    int
                )
                root = jax.random.fold_in(jax.random.key(self.world.seed), 2**30)
                keys = jax.random.split(root, QUERY_FRAMES)
                count = NUM_TRACKS // QUERY_FRAMES
                picked = [
                    render.pick_points(
                        self._scene, self.layers(int(t)), self.view(int(t)), k, count
                    )
                    for t, k in zip(frames, keys, strict=True)
                ]
                self._points = jax.tree.map(lambda *x: jnp.concatenate(x), *picked)
            return self._points

    def _once(self, kind: str, t: int, make: Callable[[], T]) -> T:
        """The value from memory, or made and kept; threads may ask at the same time."""
        with self._lock:
            if (kind, t) not in self._kept:
                self._kept[kind, t] = make()
                while len(self._kept) > 2 * KEPT:
                    self._kept.popitem(last=False)
            return self._kept[kind, t]


def intrinsics(size_hw: tuple[int, int]) -> np.ndarray:
    """The world's pinhole camera at an image size, float32 (3, 3)."""
    height, width = size_hw
    focal = FOCAL * width
    return np.array(
        [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32
    )


def make_clip(
    world: World | int,
    num_frames: int = 120,
    *,
    size_hw: tuple[int, int] = (256, 456),
    fps: float = 30.0,
    **options: Any,
) -> Clip:
    """A clip of a world: frames, cameras and static mesh, and everything in `truth`.

    Args:
      world: A world, or the seed of one that is made with `num_frames`, `fps` and
        `options` (those of `make_world`).

    Returns:
      A clip whose layers are rendered when they are read. In `truth`: labels 1..K,
      segments, amodal masks, objects, both depths, the actor, flow both ways (None past
      the ends), point tracks, and of `streams`, bool: "dynamic", what moves at some
      time of the clip, and its parts, the "actor" and "moving".
    """
    if not isinstance(world, World):
        world = make_world(world, num_frames, fps=fps, **options)
    renderer = Renderer(world, size_hw)
    count = world.num_frames

    def source(read: Callable[[int], Any]) -> Source[Any]:
        return Source(read, count)

    def layer(name: str) -> Source[np.ndarray]:
        return source(lambda t: np.asarray(getattr(renderer.layers(t), name)))

    seen = Clip(
        name=f"world_{world.seed:04d}",
        frame_ids=tuple(f"frame_{t:010d}" for t in range(1, count + 1)),
        size_hw=size_hw,
        fps=world.fps,
        category_names=CATEGORY_NAMES,
        mesh=static_mesh(world),
        frames=source(renderer.frame),
        camera=source(
            lambda t: Camera(renderer.intrinsics, world.w2c[t], size_hw=size_hw)
        ),
    )
    truth = seen.replace(
        labels=layer("labels"),
        segments=layer("labels").map(lambda labels: _segments(world, labels)),
        depth=layer("depth"),
        static_depth=layer("static_depth"),
        masks=layer("masks"),
        mask_ids=tuple(range(1, world.num_objects + 1)),
        actor=layer("actor"),
        objects=source(lambda t: _objects(world, renderer.layers(t), t)),
        flow_fwd=source(lambda t: renderer.flow(t, 1)),
        flow_bwd=source(lambda t: renderer.flow(t, -1)),
        tracks=source(renderer.tracks),
        streams=_streams(renderer, count),
    )
    return seen.replace(truth=truth)


def _streams(renderer: Renderer, count: int) -> dict[str, Source[Any]]:
    names = ("dynamic", "moving", "actor")
    reads = (functools.partial(_stream, renderer, name) for name in names)
    return {name: Source(read, count) for name, read in zip(names, reads, strict=True)}


def _stream(renderer: Renderer, name: str, t: int) -> np.ndarray:
    layers = renderer.layers(t)
    actor = np.asarray(layers.actor)
    dynamic = np.asarray(layers.depth < layers.static_depth)
    return {"dynamic": dynamic, "actor": actor, "moving": dynamic & ~actor}[name]


def static_mesh(world: World) -> Mesh:
    """What never moves in the clip, as a mesh with the mean colours of its textures."""
    kept = world.static_bodies[world.face_body]
    corners = world.faces[kept]
    used, faces = np.unique(corners, return_inverse=True)
    pose = world.body_poses[0][world.vertex_body[used]]
    at = np.einsum("vij,vj->vi", pose[:, :3, :3], world.vertices[used]) + pose[:, :3, 3]
    linear = world.tiles.mean((1, 2))[world.face_material[kept]]
    colors = np.zeros((len(used), 3))
    colors[faces.reshape(-1)] = np.repeat(np.clip(linear, 0, 1) ** (1 / 2.2), 3, axis=0)
    return Mesh(
        vertices=at.astype(np.float32),
        faces=faces.reshape(-1, 3).astype(np.int32),
        colors=(colors * 255).astype(np.uint8),
    )


def _segments(world: World, labels: np.ndarray) -> Segments:
    ids = np.unique(labels)
    ids = ids[ids > 0].astype(np.int64)
    return Segments(
        ids=ids, category=world.categories[ids - 1], score=np.ones(len(ids), np.float32)
    )


def _objects(world: World, layers: Layers, t: int) -> Objects:
    count = world.num_objects
    whole = np.asarray(layers.masks).sum((1, 2))
    seen = np.bincount(np.asarray(layers.labels).reshape(-1), minlength=count + 1)[1:]
    poses = world.body_poses[t, 1 : count + 1]
    middle = world.extents.mean(1)
    return Objects(
        ids=np.arange(1, count + 1, dtype=np.int64),
        category=world.categories,
        centers=np.einsum("kij,kj->ki", poses[:, :3, :3], middle) + poses[:, :3, 3],
        o2w=poses,
        extent=world.extents,
        occlusion=(1.0 - seen / np.maximum(whole, 1)).astype(np.float32),
        motion=world.motion[t],
    )

"""The frames of a clip as a radiance field learns from them: pixels, rays, colours.

A ray is named by its frame (a row of the scene) and its pixel (row by row): images stay
8-bit, and rays are made where they are used.
"""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, UInt8

from egojax.data.frame_stack import FrameStack
from egojax.data.stream import host_frames
from egojax.errors import UsageError
from egojax.methods.field_rays import FieldRays, field_rays
from egojax.models.poses import PoseErrors
from egojax.ops import scene_bounds
from egojax.ops.camera import camera_centers
from egojax.types import ArrayLike, Camera, Clip, SkippedFrame, Source, typed

MOTION = "streams.motion"  # The layer of a clip that says what moves.
UNKNOWN = 128


@struct.dataclass
class FieldScene:
    """T frames of one size."""

    images: UInt8[Array, "T H W 3"] | np.ndarray | None  # None: elsewhere.
    camera: Camera  # T of them.
    near: Float[Array, "T"] | np.ndarray  # Camera z, scene units.
    far: Float[Array, "T"] | np.ndarray
    slots: Int[Array, "T"] | np.ndarray  # Of the time codes.
    looks: Int[Array, "T"] | np.ndarray  # Of the appearance codes.
    # 255 where something moves, 0 where nothing does; other numbers: not known.
    motion: UInt8[Array, "T H W"] | np.ndarray | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        if self.images is None:
            return self.camera.size_hw
        height, width = self.images.shape[1:3]
        return height, width


class SceneFrames(NamedTuple):
    """A scene on the host, and which frames of the clip it holds."""

    scene: FieldScene
    frame_idx: np.ndarray  # int64 (T,)
    split: np.ndarray  # str (T,): train, val, test.
    skipped: list[SkippedFrame]

    def rows(self, *splits: str) -> np.ndarray:
        """Rows of the scene that are in some of the splits."""
        return np.flatnonzero(np.isin(self.split, splits))


def read_scene(
    clip: Clip, read_ahead: int = 8, folder: pathlib.Path | None = None
) -> SceneFrames:
    """Reads all frames that have an image, a pose and a view.

    Frames that were held out wear the appearance of the nearest frame of training.

    Args:
      clip: Of one size.
      read_ahead: Frames read before they are asked for.
      folder: Of a file for the images, which are a map of it; None = in memory.

    Raises:
      UsageError: the clip has no images, poses or views; no frame to train on; its
        frames have more than one lens or size; or the disk is full.
    """
    wanted = ("frames", "camera", "views")
    lacks = [name for name in wanted if name not in clip.sources]
    if lacks:
        raise UsageError(f"{clip.name}: a radiance field needs {', '.join(lacks)}")
    kept, cameras, views, skipped = [], [], [], []
    layers = (*wanted, MOTION) if "motion" in clip.streams else wanted
    with (
        FrameStack(clip.num_frames, folder) as stack,
        FrameStack(clip.num_frames, folder) as masks,
    ):
        for frame in host_frames(clip, layers, read_ahead):
            if frame.skipped is not None:
                skipped.append(frame.skipped)
            elif all(frame.layers[name] is not None for name in wanted):
                stack.append(frame.layers["frames"])
                cameras.append(frame.layers["camera"])
                views.append(frame.layers["views"])
                kept.append(frame.frame_idx)
                if MOTION in layers:
                    masks.append(_motion(frame.layers))
        if not kept:
            first = f"; the first: {skipped[0].reason}" if skipped else ""
            raise UsageError(
                f"{clip.name}: no frame has an image, a pose and a view{first}"
            )
        images = stack.array()
        motion = masks.array() if MOTION in layers else None
    split = np.array([view.split for view in views])
    slots = np.array([view.slot for view in views], np.int32)
    is_train = split == "train"
    if not is_train.any():
        raise UsageError(f"{clip.name}: no frame to train on")
    nearest = scene_bounds.nearest_training(slots[is_train], slots)
    scene = FieldScene(
        images=images,
        camera=_stacked(clip.name, cameras),
        near=np.array([view.near for view in views], np.float32),
        far=np.array([view.far for view in views], np.float32),
        slots=slots,
        looks=np.asarray(nearest, np.int32),
        motion=motion,
    )
    return SceneFrames(scene, np.array(kept), split, skipped)


def _motion(layers: Mapping[str, Any]) -> np.ndarray:
    """The layer of `FieldScene.motion` of a frame."""
    mask = layers[MOTION]
    if mask is None:
        return np.full(layers["frames"].shape[:2], UNKNOWN, np.uint8)
    return np.where(mask, np.uint8(255), np.uint8(0))


def read_places(clip: Clip, left_out: Collection[str] = ()) -> SceneFrames:
    """The same without reading an image: images of the scene are blank, (1, 1).

    Args:
      left_out: Names of frames whose images could not be read.
    """
    blank = np.zeros((1, 1, 3), np.uint8)
    names = clip.frame_ids
    frames = Source(lambda t: None if names[t] in left_out else blank, len(names))
    return read_scene(clip.replace(frames=frames, streams={}))


def _stacked(name: str, cameras: list[Camera]) -> Camera:
    kinds = {(c.lens, c.distortion is None) for c in cameras}
    if len(kinds) > 1:
        found = ", ".join(sorted({lens for lens, _ in kinds}))
        raise UsageError(f"{name}: frames of several lenses ({found}); convert them")
    plain = [
        Camera(
            np.asarray(c.intrinsics, np.float32),
            np.asarray(c.w2c, np.float32),
            None if c.distortion is None else np.asarray(c.distortion, np.float32),
            size_hw=c.size_hw,
            lens=c.lens,
        )
        for c in cameras
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *plain)


def middle(scene: FieldScene) -> int:
    """The row whose camera is nearest to all others, in place and direction.

    A viewpoint from which a clip can be told.
    """
    centers = camera_centers(scene.camera.w2c)
    place = np.linalg.norm(centers - np.median(centers, 0), axis=-1)
    gazes = np.asarray(scene.camera.w2c, np.float64)[:, 2, :3]
    turn = np.linalg.norm(gazes - np.median(gazes, 0), axis=-1)
    return int(np.argmin(place / max(np.median(place), 1e-9) + turn))


@jax.jit(static_argnames="official")
@typed
def rays_of(
    scene: FieldScene,
    frame: Int[Array, "R"],
    pixel: Int[Array, "R"],
    *,
    official: bool = False,
) -> FieldRays:
    """The rays of pixels.

    Args:
      scene: On the device.
      frame: Rows of the scene.
      pixel: Row by row.
      official: As published: through the pixel's outer corner, near and far (which are
        camera z) taken for distances, one step of the lens's radial terms.
    """
    width = scene.size_hw[1]
    xy = jnp.stack([pixel % width, pixel // width], -1).astype(jnp.float32)
    camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[frame], scene.camera)
    near, far, slots, looks = (
        jnp.asarray(leaf)[frame]
        for leaf in (scene.near, scene.far, scene.slots, scene.looks)
    )
    center = 0.0 if official else 0.5
    rays = field_rays(
        camera, xy + center, near, far, slots, looks, first_order=official
    )
    if official:
        return rays
    along = -1.0 / rays.camera_dirs[:, 2]  # Distance for a unit of camera z.
    return rays.replace(near=near * along, far=far * along)


@jax.jit
@typed
def values_of(
    layer: UInt8[Array, "T H W *C"], frame: Int[Array, "R"], pixel: Int[Array, "R"]
) -> Float[Array, "R *C"]:
    """What a layer of a scene shows at pixels, in [0, 1]."""
    width = layer.shape[2]
    return unit_values(layer[frame, pixel // width, pixel % width])


@jax.jit
@typed
def unit_values(values: UInt8[Array, "*S"]) -> Float[Array, "*S"]:
    """8-bit values in [0, 1]."""
    return values.astype(jnp.float32) / 255.0


def moved(scene: FieldScene, errors: PoseErrors, unit: ArrayLike) -> FieldScene:
    """A scene whose cameras are where they are without their errors.

    Args:
      errors, unit: See `field_rays.moved_rays`.
    """
    w2c = np.asarray(scene.camera.w2c, np.float64)
    shift, turn = errors.moves(jnp.asarray(scene.slots))
    c2w = np.asarray(turn) @ np.moveaxis(w2c[:, :3, :3], 1, 2)
    at = camera_centers(w2c) + np.asarray(unit * shift)
    poses = np.tile(np.eye(4), (len(w2c), 1, 1))
    poses[:, :3, :3] = np.moveaxis(c2w, 1, 2)
    poses[:, :3, 3] = -np.einsum("tij,ti->tj", c2w, at)
    camera = dataclasses.replace(scene.camera, w2c=poses.astype(np.float32))
    return dataclasses.replace(scene, camera=camera)

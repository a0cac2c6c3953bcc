"""Which rays the steps of learning see, in which order, and what is seen there.

Where the devices hold the layers of a scene that have pixels (`LAYERS`), a batch names
its rays and no more. Layers too large for them stay on the host, and a batch brings
with it what its rays need, 8-bit. Those that are too large for the host's memory too
are maps of files (`data.frame_stack`), and are read a page of frames at a time.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from egojax.methods import field_scene
from egojax.methods.field_scene import FieldScene

LAYERS = ("images", "motion")  # Of `FieldScene`: uint8 (T, H, W, ...).


@struct.dataclass
class RayBatch:
    """R rays of a step, or of K steps (K, R, ...)."""

    rays: Int[Array, "*K R 2"] | np.ndarray  # Rows of the scene; pixels, row by row.
    # uint8 (R, ...), by name: what layers that the devices do not hold show there.
    layers: dict[str, Any] = struct.field(default_factory=dict)


# -------------------------------------------------------------------------- in a step


def has(scene: FieldScene, batch: RayBatch, layer: str) -> bool:
    """Whether a layer is there, on the devices or in the batch."""
    return layer in batch.layers or getattr(scene, layer) is not None


def seen(scene: FieldScene, batch: RayBatch, layer: str) -> Float[Array, "R *C"]:
    """What a layer shows at the rays of a batch, in [0, 1]."""
    if layer in batch.layers:
        return field_scene.unit_values(batch.layers[layer])
    return field_scene.values_of(getattr(scene, layer), *batch.rays.T)


# -------------------------------------------------------------------------- on the host


def pixel_layers(scene: FieldScene) -> dict[str, np.ndarray]:
    """The layers with pixels that a scene on the host has, by name."""
    found = {name: getattr(scene, name) for name in LAYERS}
    return {name: layer for name, layer in found.items() if layer is not None}


def without_pixels(scene: FieldScene) -> FieldScene:
    """The scene for devices that hold none of its layers with pixels."""
    camera = dataclasses.replace(scene.camera, size_hw=scene.size_hw)
    nothing: dict[str, Any] = dict.fromkeys(LAYERS)
    return dataclasses.replace(scene, camera=camera, **nothing)


def ray_batches(
    frames: np.ndarray,
    num_pixels: int,
    batch: int,
    seed: int,
    first: int = 0,
    *,
    layers: Mapping[str, np.ndarray] | None = None,
    page: int | None = None,
) -> Iterator[RayBatch]:
    """Yields the batches of the steps first, first + 1, ...

    Every ray of the frames comes once before any comes again, in another order each
    time. Which rays a step sees depends neither on `first` nor on `layers`.

    Args:
      frames: Rows of the scene.
      num_pixels: Of a frame.
      batch: Rays of a step.
      seed: Of the order.
      first: Step.
      layers: (T, H, W, ...) of the host, by name: batches bring what they show.
      page: Frames of which the layers are copied into memory at a time; their rays mix
        with each other alone, other frames each time. None = all, and nothing is
        copied.
    """
    parts, missing = [], batch
    flat = {
        name: np.asarray(layer).reshape(len(layer), num_pixels, *layer.shape[3:])
        for name, layer in (layers or {}).items()
    }
    for held in _pages(frames, num_pixels, seed, first * batch, flat, page):
        for part in held.cut(missing, batch):
            parts.append(part)
            missing -= len(part.rays)
            if not missing:
                yield jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
                parts, missing = [], batch
        del held  # The next is made after this one is gone.


def next_steps(batches: Iterator[RayBatch], count: int) -> RayBatch:
    """The next batches as those of one block, (K, R, ...)."""
    found = [next(batches) for _ in range(count)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


class _Page(NamedTuple):
    """Frames whose rays mix, and the rays of them that are still to come."""

    frames: np.ndarray  # (F,) rows of the scene.
    num_pixels: int
    order: np.ndarray  # (N,) of F * num_pixels.
    layers: dict[str, np.ndarray]  # (F or T, num_pixels, ...)
    is_copied: bool  # Whether `layers` are those of F frames.

    def cut(self, first: int, size: int) -> Iterator[RayBatch]:
        """Pieces of `size`, but one of `first` before them; the last may be short."""
        for start in range(first - size, len(self.order), size):
            yield self._take(slice(max(start, 0), start + size))

    def _take(self, part: slice) -> RayBatch:
        place, pixel = np.divmod(self.order[part], self.num_pixels)
        frame = self.frames[place]
        rows = place if self.is_copied else frame
        at = rows.astype(np.int64) * self.num_pixels + pixel
        layers = {
            # Not layer[rows, pixel]: take is three times as fast.
            name: np.take(layer.reshape(-1, *layer.shape[2:]), at, axis=0)
            for name, layer in self.layers.items()
        }
        return RayBatch(np.stack([frame, pixel], -1).astype(np.int32), layers)


def _pages(
    frames: np.ndarray,
    num_pixels: int,
    seed: int,
    first: int,
    layers: dict[str, np.ndarray],
    page: int | None,
) -> Iterator[_Page]:
    """Yields pages of all epochs, from the one that ray number `first` is in."""
    epoch, skipped = divmod(first, len(frames) * num_pixels)
    while True:
        for key, chosen in _cut_frames(frames, [seed, epoch], page):
            count = len(chosen) * num_pixels
            if skipped < count:
                yield _Page(
                    chosen,
                    num_pixels,
                    _shuffled(count, key)[skipped:],
                    {k: v if page is None else v[chosen] for k, v in layers.items()},
                    is_copied=page is not None,
                )
            skipped = max(0, skipped - count)
        epoch += 1


def _cut_frames(
    frames: np.ndarray, key: Sequence[int], page: int | None
) -> Iterator[tuple[Sequence[int], np.ndarray]]:
    """Pages of an epoch: frames of each, sorted, and the key of the order of its rays.

    A page holds frames from all over the clip: a field that saw one scene of it for
    long would forget the others.
    """
    if page is None or page >= len(frames):
        yield key, frames
        return
    mixed = np.random.default_rng(key).permutation(frames)
    for n, chosen in enumerate(np.array_split(mixed, -(-len(frames) // page))):
        yield (*key, n + 1), np.sort(chosen)


def _shuffled(count: int, key: Sequence[int]) -> np.ndarray:
    """As `Generator.permutation`, in half the memory where that will do."""
    order = np.arange(count, dtype=np.uint32 if count <= 1 << 32 else np.int64)
    np.random.default_rng(key).shuffle(order)
    return order

"""Images of any cameras, written as one pinhole camera sees them, at another size."""

import dataclasses
import functools
import io
import os
import pathlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from egojax.data import arrays
from egojax.data.images import read_image
from egojax.data.neuraldiff import is_resized
from egojax.errors import FrameError
from egojax.ops import camera as camera_ops
from egojax.ops import rectify
from egojax.types import Camera

MAX_WORKERS = 8
Warp = Callable[[np.ndarray, Camera], np.ndarray]


class Job(NamedTuple):
    """An image to write."""

    source: pathlib.Path
    target: pathlib.Path
    camera: Camera  # Of the source, which may be of another size at one scale.
    reason: str = ""  # Why it is not to be written after all.


def write_rectified(
    jobs: Sequence[Job],
    target: Camera,
    size_hw: tuple[int, int],
    *,
    quality: int = 95,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Writes images, several at a time; those that are there stay as they are.

    Args:
      target: The pinhole camera that they are bent to (`rectify.common_pinhole`).
      size_hw: Of the images to write; resized with Lanczos' filter.
      quality: Of JPEGs, 1 to 100.
      workers: Images at a time; None = one per processor, up to `MAX_WORKERS`.
      progress: Told how many images are done, and of how many.

    Returns:
      For each why it was not written, "" if it was.

    Raises:
      UsageError: a file or folder cannot be written.
    """
    work = functools.partial(_write, _warper(target), size_hw, quality)
    count = workers or min(os.cpu_count() or 1, MAX_WORKERS)
    reasons = []
    pool = ThreadPoolExecutor(count, "images")
    try:
        for done, reason in enumerate(pool.map(work, jobs), 1):
            reasons.append(reason)
            if progress is not None:
                progress(done, len(jobs))
    finally:
        pool.shutdown(cancel_futures=True)
    return reasons


def _write(warp: Warp, size_hw: tuple[int, int], quality: int, job: Job) -> str:
    if job.reason or (job.target.is_file() and job.target.stat().st_size):
        return job.reason
    try:
        image = read_image(job.source)
    except FrameError as err:
        return str(err)
    if not is_resized(job.camera.size_hw, image.shape[:2]):
        (high, wide), (height, width) = job.camera.size_hw, image.shape[:2]
        return f"{width} x {height} pixels; expected {wide} x {high}, at any scale"
    picture = Image.fromarray(warp(image, job.camera))
    if image.shape[:2] != size_hw:
        picture = picture.resize(size_hw[::-1], Image.Resampling.LANCZOS)
    kind = Image.registered_extensions()[job.target.suffix.lower()]
    buffer = io.BytesIO()
    # Colours at full resolution: what is small already has none to spare.
    picture.save(buffer, kind, quality=quality, subsampling=0)
    arrays.make_folder(job.target.parent)
    arrays.write_bytes(job.target, buffer.getvalue(), sync=False)
    return ""


def _warper(target: Camera) -> Warp:
    """Bends images of any camera to those of the pinhole, at their own size."""
    wanted = rectify.lens_key(target)
    known: dict[tuple, Camera] = {}

    @functools.lru_cache(maxsize=4)  # A map is four times as large as its image.
    def positions(key: tuple, size_hw: tuple[int, int]) -> np.ndarray:
        # OpenCV has the center of the first pixel at (0, 0).
        there = (_at_size(camera, size_hw) for camera in (known[key], target))
        return rectify.positions(*there) - np.float32(0.5)

    def warp(image: np.ndarray, camera: Camera) -> np.ndarray:
        key = rectify.lens_key(camera)
        if key == wanted:
            return image
        known[key] = camera
        height, width = image.shape[:2]
        at = positions(key, (height, width))
        x, y = at[..., 0], at[..., 1]
        edge = cv2.BORDER_REPLICATE
        return cv2.remap(image, x, y, cv2.INTER_LANCZOS4, borderMode=edge)

    return warp


def _at_size(camera: Camera, size_hw: tuple[int, int]) -> Camera:
    k = np.asarray(camera.intrinsics)
    k = camera_ops.scale_intrinsics(k, camera.size_hw, size_hw)
    return dataclasses.replace(camera, intrinsics=k, size_hw=size_hw)

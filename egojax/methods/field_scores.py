"""How well fields explain a clip: images, soft masks and static depth, frame by frame.

Three groups of frames: "held_out" (test and validation), "train", and "test" alone, by
the protocol of EPIC-Diff: of test frames those with an annotated pixel, in which the
soft mask of all that is not static is judged, and the image without clipping. Test
frames of EPIC Fields have further groups, see `benchmark_scores`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from egojax.data.stream_images import NAMES, StreamImages
from egojax.methods.benchmark_scores import BenchmarkFrame, BenchmarkScores
from egojax.metrics.average_precision import ScoredMask, SoftMaskScores
from egojax.metrics.depth import DepthScores
from egojax.metrics.image_quality import ImageScores

MASKS = {"mAP": "dynamic", "mAP_moving": "moving", "mAP_actor": "actor"}
GROUPS = {"held_out": ("val", "test"), "train": ("train",)}
SSIM_SIDE = 11  # Pixels that an image needs at least, for its window.


class ScoredFrame(NamedTuple):
    """A frame as rendered, and as it is."""

    name: str
    split: str
    shown: StreamImages
    target: np.ndarray  # uint8 (H, W, 3)
    truth: dict[str, np.ndarray]  # bool (H, W), of `MASKS`, those that are known.
    static_depth: np.ndarray | None = None  # True one, camera z.
    benchmark: BenchmarkFrame | None = None  # Of a test frame of EPIC Fields.


class FrameScores(NamedTuple):
    """Numbers of groups of frames, and of each frame."""

    groups: dict[str, dict[str, Any]]
    frames: dict[str, dict[str, Any]]


class _Group(NamedTuple):
    images: ImageScores
    masks: SoftMaskScores
    depth: DepthScores

    def update(self, frame: ScoredFrame, streams: dict[str, np.ndarray]) -> "_Group":
        regions = {}
        if "dynamic" in frame.truth:
            dynamic = frame.truth["dynamic"]
            regions = {"dynamic": dynamic, "static": ~dynamic}
        masks = {
            name: ScoredMask(streams[key], frame.truth[key])
            for name, key in MASKS.items()
            if key in frame.truth and key in streams
        }
        depth = self.depth
        if frame.static_depth is not None:
            seen = np.isfinite(frame.shown.static_depth)
            true = np.where(seen, frame.static_depth, np.inf)
            depth = depth.update(frame.shown.static_depth, true, max_depth=np.inf)
        target = frame.target.astype(np.float64) / 255.0
        return _Group(
            self.images.update(frame.shown.rgb, target, regions),
            self.masks.update(masks),
            depth,
        )

    def merge(self, other: "_Group") -> "_Group":
        return _Group(
            self.images.merge(other.images),
            self.masks.merge(other.masks),
            self.depth.merge(other.depth),
        )

    def compute(self) -> dict[str, Any]:
        depth = {f"static_depth_{k}": v for k, v in self.depth.compute().items()}
        return {**self.images.compute(), **self.masks.compute(), **depth}


def score_frames(frames: Iterable[ScoredFrame], *, ssim: bool = True) -> FrameScores:
    """Scores frames.

    Args:
      frames: Each once.
      ssim: Also by structural similarity; images below 11 pixels have none.

    Returns:
      Of each group that has a frame its means, and of each frame its PSNR and the
      average precision of what is not static.

    Raises:
      UsageError: sizes differ.
    """
    benchmark = BenchmarkScores.empty()
    groups: dict[str, _Group] = {}
    rows: dict[str, dict[str, Any]] = {}
    for frame in frames:
        streams = _streams(frame.shown)
        variants = ("gauss11_valid",) if ssim and _is_large(frame.target) else ()
        blank = _Group(
            ImageScores.empty(ssim=variants),
            SoftMaskScores.empty(tuple(MASKS)),
            DepthScores.empty(),
        )
        one = blank.update(frame, streams)
        numbers = one.compute()
        rows[frame.name] = {
            "split": frame.split,
            "psnr": numbers["psnr"],
            "ap": numbers["mAP"],
        }
        for name in _groups_of(frame):
            groups[name] = groups.get(name, blank).merge(one)
        if frame.benchmark is not None:
            asked = frame.benchmark
            benchmark = benchmark.update(frame.shown, frame.target, asked)
    found = {k: v.compute() for k, v in groups.items()}
    return FrameScores(found | benchmark.compute(), rows)


def _groups_of(frame: ScoredFrame) -> list[str]:
    found = [name for name, splits in GROUPS.items() if frame.split in splits]
    annotated = frame.truth.get("dynamic")
    if frame.split == "test" and annotated is not None and annotated.any():
        found.append("test")
    return found


def _streams(shown: StreamImages) -> dict[str, np.ndarray]:
    named = dict(zip(NAMES, shown.masks, strict=False))
    # A network that has no stream that changes says nothing of what does.
    return named if len(named) == 1 else {**named, "dynamic": shown.dynamic}


def _is_large(image: np.ndarray) -> bool:
    return min(image.shape[:2]) >= SSIM_SIDE

"""What the steps of learning masks see: quadruples of frames with their motion (host).

An item is a frame F and a gap g that have a flow from F to F + g and one back. It
yields the images F, F + g, F + 5, F + g + 5, or those from F - 5 on where the clip ends
before; the first of each two has the flow forward, the second the flow back. A clip
without a second pair shows the first one twice, and nothing is compared over time.

Source: Karazija et al. 2024 (LRTL), `datasets/scan_dataset_2.py`. Differs: what a step
sees depends on the seed and its number alone; a mirrored image has its flow mirrored
too; a point is visible often enough if it is so in its window.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from egojax.errors import UsageError
from egojax.methods.motion_clips import UNIT_HW, ClipItems, ItemSettings
from egojax.methods.track_windows import draw_points
from egojax.ops.motion_losses import OFFSET, MotionImages
from egojax.types import ArrayLike

MIRROR = np.array([-1, 1], np.float32)


class MotionBatch(NamedTuple):
    """Q quadruples, (Q, 4, ...): so none is cut where a batch is, over devices say."""

    images: ArrayLike  # uint8 (Q, 4, h, w, 3)
    motion: MotionImages  # (Q, 4, ...), in pixels of 480 x 854.
    gap: Float[ArrayLike, "Q 4"]  # Frames that the flow spans; < 0 = back.
    ramp: Float[ArrayLike, " Q"]  # Of the term over time, the same in each row.
    # float16 (Q, 4, L, ...): what a frozen backbone sees in the images, where it is
    # kept with the clip.
    keys: ArrayLike | None = None

    def in_a_row(self) -> tuple[Any, MotionImages, Any]:
        """Images, motion and gaps (4 Q, ...), as `ops.motion_losses` takes them."""
        given = self.images, self.motion, self.gap
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), given)


# ------------------------------------------------------------------------------ items


class _Item(NamedTuple):
    clip: int
    gap: int
    frames: tuple[int, int, int, int]
    is_compared: bool  # Whether the second pair is another one than the first.


def _items(clips: Sequence[ClipItems]) -> list[_Item]:
    """All items, clip by clip, gap by gap."""
    found = []
    for number, clip in enumerate(clips):
        for gap, pairs in clip.pairs.items():
            for frame in np.flatnonzero(pairs).tolist():
                start, other = frame, frame
                if frame + OFFSET < len(pairs) and pairs[frame + OFFSET]:
                    other = frame + OFFSET
                elif frame >= OFFSET and pairs[frame - OFFSET]:
                    start = frame - OFFSET
                frames = (start, start + gap, other, other + gap)
                found.append(_Item(number, gap, frames, start != other))
    return found


def batches(
    clips: Sequence[ClipItems],
    settings: ItemSettings,
    batch_size: int,
    seed: int | Sequence[int],
    first: int = 0,
    *,
    ramp: Callable[[int], float] = lambda step: 1.0,
) -> Iterator[MotionBatch]:
    """Yields the batches of the steps first, first + 1, ... without end.

    Every item comes once before any comes again, in another order each time. What a
    step sees depends on the seed and its number alone.

    Args:
      clips: As `read_clip` gives them, of the same settings.
      settings: See there.
      batch_size: Images; a multiple of four.
      seed: Of order, points and mirroring.
      first: Step.
      ramp: Of the term over time, by the step.

    Raises:
      UsageError: the batch size is not a multiple of four, or there are no clips.
    """
    if batch_size < 4 or batch_size % 4:
        raise UsageError(f"batch_size={batch_size}: images come in quadruples; give 8")
    if not clips:
        raise UsageError("nothing to learn from: there are no clips")
    return _batches(clips, settings, batch_size // 4, seed, first, ramp)


def _batches(
    clips: Sequence[ClipItems],
    settings: ItemSettings,
    count: int,
    seed: int | Sequence[int],
    first: int,
    ramp: Callable[[int], float],
) -> Iterator[MotionBatch]:
    root = [seed] if isinstance(seed, int) else list(seed)
    items = _items(clips)
    epoch, order = -1, np.empty(0, np.int64)
    for step in range(first, np.iinfo(np.int64).max):
        parts = []
        for number in range(step * count, (step + 1) * count):
            if number // len(items) != epoch:
                epoch = number // len(items)
                order = np.random.default_rng([*root, 0, epoch]).permutation(len(items))
            item = items[order[number % len(items)]]
            rng = np.random.default_rng([*root, 1, number])
            parts.append(_quadruple(clips[item.clip], item, settings, rng))
        joined = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
        yield joined._replace(ramp=np.full(count, ramp(step), np.float32))


def _quadruple(
    clip: ClipItems, item: _Item, settings: ItemSettings, rng: np.random.Generator
) -> MotionBatch:
    """The four images of an item; all are mirrored, or none."""
    is_flipped = settings.flip and bool(rng.integers(2))
    gaps = (item.gap, -item.gap, item.gap, -item.gap)
    points = [_points(clip, t, settings, rng) for t in item.frames]
    stacked: list[Any] = [np.stack(part) for part in zip(*points, strict=True)]
    tracks, visible, loc, own, weights = stacked
    images = np.stack([clip.images[t] for t in item.frames])
    flow: Any = np.stack(
        [clip.flows[gap][t] for gap, t in zip(gaps, item.frames, strict=True)]
    ).astype(np.float32)
    if not item.is_compared:
        visible = np.zeros_like(visible)
    if is_flipped:
        images, flow = images[:, :, ::-1], flow[:, :, ::-1] * MIRROR
        tracks[..., 0] = UNIT_HW[1] - settings.published - tracks[..., 0]
        loc = loc * MIRROR
    motion = MotionImages(tracks, visible, loc, own, flow, weights)
    keys = None
    if clip.keys is not None:
        keys = np.stack([clip.keys[t, int(is_flipped)] for t in item.frames])
    return MotionBatch(images, motion, np.array(gaps, np.float32), np.ones(()), keys)


def _points(
    clip: ClipItems, frame: int, settings: ItemSettings, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Of an image: tracks (T, N, 2), visible (T, N), loc (N, 2), own (), weights."""
    window = clip.windows.around(frame)
    seen = window.visibility.mean(0) >= settings.min_visible
    rows, weights = draw_points(seen, settings.num_points, rng)
    if not len(seen):  # Points of weight 0 stand in for those that are not there.
        shape = len(window.frames), settings.num_points
        tracks, places = np.zeros((*shape, 2), np.float32), np.zeros((shape[1], 2))
        visible = np.zeros(shape)
    else:
        tracks, visible = window.tracks_xy[:, rows], window.visibility[:, rows]
        places = clip.windows.places(frame)[rows]
    tracks, places = (
        points * clip.scale_xy - np.float32(0.5 * settings.published)
        for points in (tracks, places)
    )
    size_xy = np.array(UNIT_HW[::-1], np.float32) - np.float32(settings.published)
    loc = 2 * places / size_xy - 1
    return (
        tracks,
        visible.astype(np.float32),
        np.clip(loc, -3, 3).astype(np.float32),
        np.array(window.query, np.int32),
        weights,
    )

"""The published figure of a held-out frame: nine panels, as PNG.

FOLDER/official/masks/per_sample/FRAME.png
"""

import math
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from egojax.apps import figures
from egojax.apps.field_folder import STREAMS, Rendered
from egojax.apps.field_frames import to_bytes
from egojax.data import arrays
from egojax.data.stream_images import NAMES, StreamImages
from egojax.errors import FrameError
from egojax.metrics.average_precision import mask_average_precision
from egojax.metrics.image_quality import psnr
from egojax.ops.scene_bounds import spread
from egojax.types import Clip, SkippedFrame

SIZE_INCHES, DOTS_PER_INCH = (8, 5), 100  # Width, height.
COLUMNS = 3


class Panel(NamedTuple):
    """A title and what is under it."""

    title: str
    picture: np.ndarray | None


def write_panels(
    folder: pathlib.Path,
    clip: Clip,
    *,
    num_samples: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[SkippedFrame]:
    """Writes the figure of each held-out frame (split "test") that was rendered.

    Where the clip has true masks of what moves, frames without one, or with an empty
    one, are passed over, as published.

    Args:
      folder: The clip's, with `streams/`.
      clip: With frames and views; true masks in `truth.streams["dynamic"]`.
      num_samples: At most so many, evenly spaced; 0 = all.
      progress: Told the frames done and the frames in all.

    Returns:
      Frames that could not be read.

    Raises:
      UsageError: a rendering is damaged.
    """
    rendered, skipped = Rendered(clip, folder), []
    held_out = [t for t in rendered.times() if rendered.split(t) == "test"]
    times = [held_out[n] for n in spread(len(held_out), num_samples)]
    target = folder / "official" / "masks" / "per_sample"
    arrays.make_folder(target)
    for n, t in enumerate(times, 1):
        try:
            figure = _figure(rendered, t)
        except FrameError as err:
            skipped.append(SkippedFrame(t, str(err)))
        else:
            if figure is not None:
                path = target / f"{clip.frame_ids[t]}.png"
                arrays.write_bytes(path, figures.encoded(figure, "png"), sync=False)
        if progress is not None:
            progress(n, len(times))
    return skipped


def _figure(rendered: Rendered, t: int) -> np.ndarray | None:
    """The figure of frame t; None where it is not annotated, though others are."""
    truth, photo = rendered.truth(t), rendered.photo(t)
    if rendered.is_annotated and (truth is None or not truth.any()):
        return None
    if photo is None:
        return None
    name = rendered.clip.frame_ids[t]
    return panels(name, photo, rendered.images(STREAMS, t), truth)


def panels(
    name: str, photo: np.ndarray, images: StreamImages, truth: np.ndarray | None
) -> np.ndarray:
    """The published figure: nine panels in three rows, the third one empty.

    Target, prediction; static alone, moving part, actor part; soft masks of both
    together, of what moves, of the actor, each from its least (violet) to its largest
    value (yellow).

    Args:
      name: Of the frame.
      photo: uint8 (H, W, 3).
      images: What the field shows of it.
      truth: True mask of what moves, bool (H, W); None = not known.

    Returns:
      uint8 (500, 800, 3).

    Source: NeuralDiff, evaluation/segmentation.py, evaluate_sample.
    """
    ap = ""
    if truth is not None:
        ap = f" AP: {mask_average_precision(images.dynamic, truth):.4f}"
    score, alone = psnr(images.rgb, photo), psnr(images.static_rgb, photo)
    parts = [to_bytes(part) for part in images.parts[1:]]
    masks = list(images.masks[1:])
    parts += [None] * (len(NAMES) - 1 - len(parts))
    masks += [None] * (len(NAMES) - 1 - len(masks))
    cells = [
        Panel("GT", photo),
        Panel(f"Pred. PSNR: {score:.2f}", to_bytes(images.rgb)),
        Panel("", None),
        Panel(f"Static. PSNR: {alone:.2f}", to_bytes(images.static_rgb)),
        Panel("Transient", parts[0]),
        Panel("Person", parts[1]),
        Panel(f"Mask.{ap}", images.dynamic),
        Panel("Mask: Transient.", masks[0]),
        Panel("Mask: Person.", masks[1]),
    ]
    return _drawn(f"Sample: {name}.\n", cells)


def _drawn(headline: str, cells: Sequence[Panel]) -> np.ndarray:
    """Panels in rows of three under a headline; one without a picture stays white."""
    # Not pyplot, which keeps every figure; and imported late, for it is slow to load.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(SIZE_INCHES, DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(headline)
    whole = figure.add_subplot()
    figure.tight_layout()  # Margins as of one plot: published so.
    whole.remove()
    for n, (title, picture) in enumerate(cells, 1):
        if picture is not None:
            axes = figure.add_subplot(math.ceil(len(cells) / COLUMNS), COLUMNS, n)
            axes.set_title(title)
            axes.imshow(picture)
            axes.set_axis_off()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

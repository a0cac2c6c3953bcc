"""Rendered frames by the two protocols of EPIC Fields.

New views: PSNR of clipped images, a group for each list of test frames; in the list
"within_action" also of the foreground, the pixels of the annotation "dynamic" that are
not 0, and of the rest, over the frames that have such a foreground.
UDOS (segmentation of dynamic objects): average precision of soft masks in the frames of
"within_action", by type of motion.

Source: Tschernezki et al. 2023 (EPIC Fields); dichotomies/epic-fields-nvs-udos,
evaluate_nvs.py, evaluate_udos.py.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from egojax.data.epic_benchmark import DIFFICULTIES
from egojax.data.stream_images import StreamImages
from egojax.metrics.average_precision import (
    MOTIONS,
    UDOS_NAMES,
    SoftMaskScores,
    udos_masks,
)
from egojax.metrics.image_quality import ImageScores

UDOS = "udos"
NEW_VIEWS = {name: f"nvs_{name}" for name in DIFFICULTIES}
ANNOTATED = "within_action"  # The list whose frames have masks.


class BenchmarkFrame(NamedTuple):
    """What the benchmark says of a test frame."""

    lists: tuple[str, ...]  # Of `DIFFICULTIES`, those that it is in.
    masks: Mapping[str, np.ndarray]  # By type of motion: integers 0 to 3, (H, W).


class BenchmarkScores(NamedTuple):
    """Accumulators of a video."""

    views: Mapping[str, ImageScores]  # By list.
    masks: SoftMaskScores
    num_masked: int  # Frames whose soft masks were judged, positive pixels or none.

    @classmethod
    def empty(cls) -> "BenchmarkScores":
        """No frame yet."""
        views = {name: ImageScores.epic_fields() for name in DIFFICULTIES}
        return cls(views, SoftMaskScores.empty(UDOS_NAMES), 0)

    def update(
        self, shown: StreamImages, target: np.ndarray, frame: BenchmarkFrame
    ) -> "BenchmarkScores":
        """Adds a test frame.

        Args:
          shown: As rendered, of the size (H, W).
          target: The photograph, uint8 (H, W, 3).
          frame: What is asked of it.

        Raises:
          UsageError: sizes differ, or a mask has other values.
          FrameError: a colour or a score is not finite.
        """
        views = dict(self.views)
        for name in frame.lists:
            regions = _regions(frame.masks) if name == ANNOTATED else {}
            if name != ANNOTATED or regions:
                views[name] = views[name].update(shown.rgb, target, regions)
        soft = soft_masks(shown)
        if ANNOTATED not in frame.lists or not frame.masks or not soft:
            return self._replace(views=views)
        masks = self.masks.update(udos_masks(soft, frame.masks))
        return BenchmarkScores(views, masks, self.num_masked + 1)

    def compute(self) -> dict[str, dict[str, Any]]:
        """Means over frames, by group: those that have a frame.

        A type of motion that no frame has is NaN.
        """
        found = {
            NEW_VIEWS[name]: scores.compute()
            for name, scores in self.views.items()
            if scores.num_images
        }
        if self.num_masked:
            found[UDOS] = self.masks.compute()
        return found


def soft_masks(shown: StreamImages) -> dict[str, np.ndarray]:
    """The scores by type of motion, (H, W); none of a field that is static alone.

    The actor's stream moves now, both that are not static at any time; fields of one
    such stream say the same of all types.
    """
    if len(shown.masks) < 2:
        return {}
    now = shown.masks[2] if len(shown.masks) > 2 else shown.dynamic
    return {name: now if name == "dynamic" else shown.dynamic for name in MOTIONS}


def _regions(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if "dynamic" not in masks:
        return {}
    foreground = np.asarray(masks["dynamic"]) > 0
    return {"foreground": foreground, "background": ~foreground}

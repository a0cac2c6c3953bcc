"""The EgoSeg3D protocol: class by class, combined by detections, averaged over videos.

One joint histogram of a frame serves all classes at once. In the published protocol a
class counts only in frames where the truth shows it, so that a track drawn in its
absence costs nothing; the strict mode keeps all frames.

Source: Bhalgat et al. 2024 (EgoSeg3D), scripts/eval_deva.py.
Differs: a class that the truth never shows is skipped and named; the script stops.
The script takes class 0 and the background for the same thing wherever the background
of the true maps is 0; that is `official_tap_bug`, off by default.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from egojax.metrics.overlap import FrameOverlap, frame_overlap
from egojax.metrics.recorder import TrackRecorder
from egojax.metrics.schema import mean_of_results
from egojax.metrics.tracking import TrackingScores, combine_sequences
from egojax.ops.segments import resize_official

IGNORED_CATEGORIES = frozenset(
    [
        "sink",
        "salt",
        "water",
        "surface",
        "carrot",
        "celery",
        "courgette",
        "flour",
        "hot water",
        "mixture",
        "olive oil",
        "sugar",
        "yeast",
    ]
)


@dataclasses.dataclass(frozen=True)
class EgoSegVideo:
    """What the protocol finds in one video."""

    name: str
    per_class: Mapping[str, TrackingScores]
    identity_count: Mapping[str, int]  # Ids ever given to each class; the truth is 1.
    skipped: tuple[str, ...]  # Classes without a frame in the truth.

    def compute(self) -> dict[str, Any]:
        """All classes combined by detections, and the mean count of ids a class."""
        counts = list(self.identity_count.values())
        return {
            **combine_sequences(self.per_class.values()).compute(),
            "ids_per_class": float(np.mean(counts)) if counts else float("nan"),
            "num_classes": len(self.per_class),
            "num_skipped_classes": len(self.skipped),
        }


@dataclasses.dataclass(frozen=True)
class EgoSegScores:
    """Any number of videos; the number of the table is their plain mean."""

    videos: tuple[EgoSegVideo, ...] = ()

    def update(self, video: EgoSegVideo) -> "EgoSegScores":
        """Adds one more video."""
        return EgoSegScores((*self.videos, video))

    def merge(self, other: "EgoSegScores") -> "EgoSegScores":
        """The videos of both."""
        return EgoSegScores(self.videos + other.videos)

    def compute(self) -> dict[str, Any]:
        """The mean over videos of every number; NaN is skipped."""
        return mean_of_results([video.compute() for video in self.videos])


class EgoSegRecorder:
    """Takes one video frame by frame.

    Args:
      true_classes: Class name to its value in the true class maps (or to the category
        of the truth's table, see `add`).
      pred_categories: Class name to the category in the prediction's tables; by default
        the same numbers. A class that the prediction does not know is never predicted.
      min_area: Predicted segments of at most this many pixels are removed, per frame,
        as eval_deva.py erases them. `identity_count` starts at this very number, as
        the count of ids in the same repository does.
      strict: Keep the frames in which the truth does not show the class.
      true_background: The value of the true maps that is no class.
      official_tap_bug: Let class 0 be the background of the true maps.
      ignored: Names that are never evaluated.
      name: Names the video in errors.
    """

    def __init__(
        self,
        true_classes: Mapping[str, int],
        pred_categories: Mapping[str, int] | None = None,
        *,
        min_area: int = 500,
        strict: bool = False,
        true_background: int = -1,
        official_tap_bug: bool = False,
        ignored: frozenset[str] = IGNORED_CATEGORIES,
        name: str = "video",
    ):
        self.name = name
        self.min_area = min_area
        self.strict = strict
        self.official_tap_bug = official_tap_bug
        self.true_background = None if official_tap_bug else true_background
        names = true_classes if pred_categories is None else pred_categories
        self._classes = {
            key: (value, names.get(key))
            for key, value in true_classes.items()
            if key not in ignored
        }
        self._recorders = {
            key: TrackRecorder(f"{name}, {key}") for key in self._classes
        }
        self._identities: dict[str, set[int]] = {key: set() for key in self._classes}
        self._shown: set[str] = set()

    def add(
        self,
        true_labels: np.ndarray,
        pred_labels: np.ndarray,
        pred_category: Mapping[int, int],
        true_category: Mapping[int, int] | None = None,
    ) -> None:
        """Appends a frame that both sides have.

        Args:
          true_labels: Class ids (H, W), or object ids if `true_category` is given. A
            map of another size is brought to the prediction's by nearest neighbour.
          pred_labels: Segment ids (h, w), 0 = none.
          pred_category: Segment id to category, in this frame.
          true_category: Object id to class: then the true maps hold object ids, 0 =
            none, and every object keeps its identity: a class may have several.
        """
        truth = resize_official(np.asarray(true_labels), np.shape(pred_labels))
        if self.official_tap_bug:
            truth = np.maximum(truth, 0)
        background = 0 if true_category is not None else self.true_background
        overlap = frame_overlap(truth, pred_labels, true_background=background)
        self.add_overlap(overlap, pred_category, true_category)

    def add_overlap(
        self,
        overlap: FrameOverlap,
        pred_category: Mapping[int, int],
        true_category: Mapping[int, int] | None = None,
    ) -> None:
        """Appends a frame of which the overlaps are known already."""
        similarity = overlap.similarity()
        pred_class = _categories(overlap.pred_ids, pred_category)
        true_class = overlap.true_ids
        if true_category is not None:
            true_class = _categories(overlap.true_ids, true_category)
        for key, (of_truth, of_pred) in self._classes.items():
            is_true = true_class == of_truth
            is_pred = (pred_class == of_pred) & (of_pred is not None)
            counted = overlap.pred_ids[is_pred & (overlap.pred_area >= self.min_area)]
            self._identities[key].update(counted.tolist())
            if is_true.any():
                self._shown.add(key)
            elif not self.strict:
                continue
            is_pred &= overlap.pred_area > self.min_area
            self._recorders[key].add(
                (
                    overlap.true_ids[is_true],
                    overlap.pred_ids[is_pred],
                    similarity[is_true][:, is_pred],
                )
            )

    def finish(self) -> EgoSegVideo:
        """Scores the frames so far."""
        shown = [key for key in self._classes if key in self._shown]
        return EgoSegVideo(
            name=self.name,
            per_class={key: TrackingScores.of(self._recorders[key]) for key in shown},
            identity_count={key: len(self._identities[key]) for key in shown},
            skipped=tuple(key for key in self._classes if key not in self._shown),
        )


_UNKNOWN = np.iinfo(np.int64).min


def _categories(ids: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    return np.array([table.get(int(i), _UNKNOWN) for i in ids], np.int64)

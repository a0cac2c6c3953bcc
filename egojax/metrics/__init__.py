"""The one metrics module: all public names.

Every number is defined in the module that makes it. Scores are accumulators: records
of counts with `update` (one more sequence), `merge` and `compute` (a flat dictionary,
NaN where undefined). Recorders take one sequence frame by frame, in bounded memory.
Everything is float64 on the host and exact in its counts.
"""

from egojax.metrics.davis import (
    ObjectSeries,
    Protocol,
    RegionScores,
    score_sequence,
    series_statistics,
)
from egojax.metrics.egoseg import (
    IGNORED_CATEGORIES,
    EgoSegRecorder,
    EgoSegScores,
    EgoSegVideo,
    resize_nearest,
)
from egojax.metrics.hota import ALPHAS
from egojax.metrics.matching import best_matching
from egojax.metrics.overlap import (
    FrameOverlap,
    box_ioa,
    box_iou,
    box_overlap,
    frame_overlap,
    frame_overlaps,
    mask_overlap,
    point_similarity,
)
from egojax.metrics.recorder import DetectionPairs, IdTriple, TrackRecorder
from egojax.metrics.regions import (
    boundary_map,
    boundary_radius,
    contour_accuracy,
    region_and_contour,
    region_similarity,
)
from egojax.metrics.schema import (
    PERCENT,
    format_number,
    format_table,
    is_percent,
    mean_of_results,
    to_json,
)
from egojax.metrics.tracking import TrackingScores, average_classes, combine_sequences

__all__ = [
    "ALPHAS",
    "IGNORED_CATEGORIES",
    "PERCENT",
    "DetectionPairs",
    "EgoSegRecorder",
    "EgoSegScores",
    "EgoSegVideo",
    "FrameOverlap",
    "IdTriple",
    "ObjectSeries",
    "Protocol",
    "RegionScores",
    "TrackRecorder",
    "TrackingScores",
    "average_classes",
    "best_matching",
    "boundary_map",
    "boundary_radius",
    "box_ioa",
    "box_iou",
    "box_overlap",
    "combine_sequences",
    "contour_accuracy",
    "format_number",
    "format_table",
    "frame_overlap",
    "frame_overlaps",
    "is_percent",
    "mask_overlap",
    "mean_of_results",
    "point_similarity",
    "region_and_contour",
    "region_similarity",
    "resize_nearest",
    "score_sequence",
    "series_statistics",
    "to_json",
]

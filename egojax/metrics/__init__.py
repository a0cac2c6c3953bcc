"""The one metrics module: all public names.

Every number is defined in the module that makes it. Scores are accumulators: records
of counts with `update` (one more sequence), `merge` and `compute` (a flat dictionary,
NaN where undefined). What `update` takes is what the measure needs: the frames or the
recorder of a sequence (tracking), its recorder (permanence), what its recorder's
`finish` gives (EgoSeg3D, track AP), or arrays (masks, points, depth, images). Recorders
take a sequence frame by frame, in bounded memory. All is float64 on the host and exact
in its counts, but for `Mean`: a pytree of JAX arrays that crosses jit, with one number
as its `compute`.
"""

from egojax.metrics.average_precision import (
    MOTIONS,
    UDOS_NAMES,
    ScoredMask,
    SoftMaskScores,
    mask_average_precision,
    udos_masks,
    udos_mean_over_videos,
)
from egojax.metrics.bootstrap import (
    Difference,
    Interval,
    bootstrap_difference,
    bootstrap_interval,
    pooled,
)
from egojax.metrics.davis import (
    ObjectSeries,
    Protocol,
    RegionScores,
    score_sequence,
    series_statistics,
)
from egojax.metrics.depth import (
    DEPTH_FIELDS,
    DepthScores,
    align_disparity,
    depth_errors,
    depth_from_aligned,
)
from egojax.metrics.egoseg import (
    IGNORED_CATEGORIES,
    EgoSegRecorder,
    EgoSegScores,
    EgoSegVideo,
)
from egojax.metrics.frame_means import FrameMeans
from egojax.metrics.hota import ALPHAS
from egojax.metrics.image_quality import (
    SSIM_VARIANTS,
    ImageScores,
    lpips_input,
    lpips_layers,
    psnr,
    ssim,
)
from egojax.metrics.lasting import LastingScores, object_ids
from egojax.metrics.matching import best_matching
from egojax.metrics.mean import Mean
from egojax.metrics.osnom import FrameDetections, evaluation_frames, percentage_correct
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
from egojax.metrics.partition import (
    MOTION_PROTOCOLS,
    MotionProtocol,
    MotionScores,
    MotionSeries,
    PartitionScores,
    mask_ious,
    rand_index,
)
from egojax.metrics.permanence import (
    GAP_EDGES,
    RADII,
    PermanenceRecorder,
    PermanenceScores,
    match_objects,
)
from egojax.metrics.points import (
    PointScores,
    Queries,
    RedetectionScores,
    point_accuracy,
    sample_queries,
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
from egojax.metrics.track_map import TrackMapScores, TrackVolumeRecorder, TrackVolumes
from egojax.metrics.tracking import TrackingScores, average_classes, combine_sequences
from egojax.metrics.trajectory import Similarity, align_similarity, trajectory_errors

__all__ = [
    "ALPHAS",
    "DEPTH_FIELDS",
    "GAP_EDGES",
    "IGNORED_CATEGORIES",
    "MOTIONS",
    "MOTION_PROTOCOLS",
    "PERCENT",
    "RADII",
    "SSIM_VARIANTS",
    "UDOS_NAMES",
    "DepthScores",
    "DetectionPairs",
    "Difference",
    "EgoSegRecorder",
    "EgoSegScores",
    "EgoSegVideo",
    "FrameDetections",
    "FrameMeans",
    "FrameOverlap",
    "IdTriple",
    "ImageScores",
    "Interval",
    "LastingScores",
    "Mean",
    "MotionProtocol",
    "MotionScores",
    "MotionSeries",
    "ObjectSeries",
    "PartitionScores",
    "PermanenceRecorder",
    "PermanenceScores",
    "PointScores",
    "Protocol",
    "Queries",
    "RedetectionScores",
    "RegionScores",
    "ScoredMask",
    "Similarity",
    "SoftMaskScores",
    "TrackMapScores",
    "TrackRecorder",
    "TrackVolumeRecorder",
    "TrackVolumes",
    "TrackingScores",
    "align_disparity",
    "align_similarity",
    "average_classes",
    "best_matching",
    "bootstrap_difference",
    "bootstrap_interval",
    "boundary_map",
    "boundary_radius",
    "box_ioa",
    "box_iou",
    "box_overlap",
    "combine_sequences",
    "contour_accuracy",
    "depth_errors",
    "depth_from_aligned",
    "evaluation_frames",
    "format_number",
    "format_table",
    "frame_overlap",
    "frame_overlaps",
    "is_percent",
    "lpips_input",
    "lpips_layers",
    "mask_average_precision",
    "mask_ious",
    "mask_overlap",
    "match_objects",
    "mean_of_results",
    "object_ids",
    "percentage_correct",
    "point_accuracy",
    "point_similarity",
    "pooled",
    "psnr",
    "rand_index",
    "region_and_contour",
    "region_similarity",
    "sample_queries",
    "score_sequence",
    "series_statistics",
    "ssim",
    "to_json",
    "trajectory_errors",
    "udos_masks",
    "udos_mean_over_videos",
]

r"""EgoSeg3D: 3D-aware tracking of per-frame segments (Bhalgat et al., ACCV 2024).

From a clip with poses, depth and imperfect 2D segments to objects that keep their
identity through occlusion and absence.

  python launch.py --config=configs/tracking.py                      embedded clip
  python launch.py --config=configs/tracking.py:smoke                seconds, for CI
  python launch.py --config=configs/tracking.py:epic_fields \
      --config.data.root=ROOT --config.data.clips=P01_104            the official layout
  python launch.py --config=configs/tracking.py:epic_fields+official published behaviour
  python launch.py --config=configs/tracking.py:folder --config.data.root=MY_CLIP
  python launch.py --config=configs/tracking.py:hot3d --config.data.root=RECORDING
  python launch.py --config=configs/tracking.py:adt --config.data.root=SEQUENCE
  python launch.py --config=configs/tracking.py:gliding \
      --config.data.motion=runs/motion_seg           what moves is what is tracked
  python launch.py --config=configs/tracking.py:bench                standard benchmark
  python launch.py --config=configs/tracking.py:bench --mode=train   learns the weights,
      for --config.assoc.weights=runs/tracking-bench-train/weights.npz

Stages
  observe   depth aligned to the static scene, segments lifted to 3D: observations/
  track     who is who: tracks.npz
  labels    labels/, pred.json, official/
  score     against the truth, where it is known: scores.json
  show      overlay.mp4, report.html

Expect: the embedded clip (120 frames) takes about a minute on two CPU cores; its table
shows the 2D ids before and the tracks after.
"""

import base
import ml_collections
from ml_collections.config_dict import placeholder

# Classes that the published system neither tracks nor scores.
IGNORED = (
    *("sink", "salt", "water", "surface", "carrot", "celery", "courgette", "flour"),
    *("hot water", "mixture", "olive oil", "sugar", "yeast"),
)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `arg` names variants joined by "+"."""
    config = base.run("tracking", seed=0)
    config.data = dict(
        name="world",  # world | epic_fields | folder | hot3d | adt
        root=placeholder(str),  # Folder of the data set, or of the user's own clip.
        clips=placeholder(str),  # "P01_104,P01_01"; of the world: seeds, "0,1,2".
        stride=1,  # Every how many frames.
        max_frames=0,  # Only the first so many of those; 0 = all.
        repeat=1,  # The clip played so often, for tests of long videos.
        # True depth made monocular, scale * d + shift being the truth; 0 = left alone.
        corrupt_depth=dict(scale=0.0, shift=0.0, error=0.0),
        stream="",  # Camera stream of Aria recordings; "" = the colour camera.
        metric_scale=placeholder(float),  # Metres per world unit.
        fps=placeholder(float),  # Of a folder of images; a video file has its own.
        # Run folder of configs/motion_seg.py on the same clips: its motion groups are
        # the 2D segments, for clips that have none (of others, theirs are left out).
        # What has moved is seen as long as points hold on to it; in a longer rest the
        # track keeps its place, until it moves again. What never moves is no miss.
        motion=placeholder(str),
    )
    config.world = dict(
        num_frames=120,
        size_hw=(256, 456),
        faults="all",  # none | ids_only | all
        camera_path=placeholder(str),  # Drive the head by these poses (meta.json).
        # kitchen | bench (the standard benchmark) | handling | gliding
        scene="kitchen",
    )
    config.official = dict(  # Names inside the official ROOT layout.
        segments="deva_OWLv2_s5",
        features="dino_s5",
        truth="visor_DEVA100_segmaps",  # "EXTENDED+visor_segmaps": the union of both.
        use_rescale=True,  # To metres, by meta.json.
        max_number=20000,  # Frames with a larger number are left out, as published.
        categories="frame",  # Of a 2D id: frame | last, its last listing (published).
        tap_bug=False,  # Class 0 is the background of true maps, in all scores.
        frame_mapping=placeholder(str),  # VISOR's frame_mapping.json, where it is used.
    )
    config.segments = dict(min_pixels=500, ignore_categories=IGNORED)
    config.depth = dict(
        space="depth",  # depth | disparity | official
        align=True,  # To the static scene, frame by frame.
        exclude_segments=True,  # Moving things take no part in the alignment.
        smooth=0,  # Frames over which scale and shift are smoothed; 0 = none.
        renderer="jax",  # Of a mesh: jax | embree (extra: mesh)
        fields=placeholder(str),  # Run folder of a decomposition: its static depth.
        points="nearest",  # A clip without a mesh: nearest | surface (alpha shape)
        cull=False,  # Draw only faces turned towards the camera (published).
        use_lens=True,  # Undo the lens; the published code ignores it.
    )
    config.lift = dict(mode="median", erode=2)  # median | centroid (published)
    config.features = dict(name="auto")  # auto | file | descriptor | none
    config.assoc = dict(
        mode="online",  # online | lagged | offline | official
        lag=4,  # Frames; only for "lagged".
        weights=placeholder(str),  # npz of learned weights (--mode=train writes it).
        category="vote",  # Of a track: vote | last (published).
        must_link=placeholder(str),  # JSON: [[[frame, id], [frame, id]], ...]
        cannot_link=placeholder(str),
        # By hand, over what the mode sets; see ops/association.py, methods/tracker.py.
        solver=placeholder(str),  # sinkhorn | exact
        gate=placeholder(str),  # before | after
        appearance_update=placeholder(str),  # mean (running) | recursive | ema
        label_memory=placeholder(str),  # last | mode
        gamma=placeholder(int),  # Observations that an appearance remembers.
        noise_std=placeholder(float),
        alpha=placeholder(float),
        beta_l=placeholder(float),
        beta_v=placeholder(float),
        beta_c=placeholder(float),
        beta_s=placeholder(float),
        location_weight=placeholder(float),
        location_cap=placeholder(float),
        appearance_weight=placeholder(float),
        track_shrink=placeholder(float),
        location_gain=placeholder(float),
        moved_by=placeholder(float),
    )
    config.eval = dict(
        # --mode=eval: an official segmaps folder to score; {clip} is the clip's name.
        tree=placeholder(str),
        depth=True,  # Score the depth before and after its alignment.
    )
    # `official`: the published system's own files; they are large.
    config.show = dict(overlay=True, report=True, official=False)
    config.train = dict(
        steps=300,
        batch_size=192,  # Frames, over all devices.
        learning_rate=0.02,
        prior=0.003,  # How hard the weights hold on to where they start.
        checkpoint_every=100,
    )
    for variant in filter(None, arg.split("+")):
        VARIANTS[variant](config)
    return config


def _smoke(config):
    """Seconds on a CPU: few frames, small ones."""
    config.world.num_frames = 12
    config.world.size_hw = (96, 160)
    config.segments.min_pixels = 40


def _bench(config):
    """The standard benchmark's clips (its table: experiments/benchmark.py)."""
    config.world.scene = "bench"
    config.world.num_frames = 600
    config.eval.depth = False
    config.data.clips = "0-9"


def _gliding(config):
    """The embedded clip of configs/motion_seg.py, to track what moves in it."""
    config.world.scene = "gliding"
    config.world.num_frames = 80
    config.world.size_hw = (240, 432)


def _official(config):
    """The published behaviour, defects included."""
    config.lift.mode = "centroid"
    config.assoc.mode = "official"
    config.assoc.category = "last"
    config.official.categories = "last"
    config.depth.space = "official"
    config.depth.exclude_segments = False
    config.depth.use_lens = False
    config.depth.points = "surface"
    config.depth.cull = True


def _epic_fields(config):
    """EPIC-FIELDS and VISOR in the official ROOT layout."""
    config.data.name = "epic_fields"
    config.show.official = True


def _folder(config):
    """The user's own folder."""
    config.data.name = "folder"
    config.segments.ignore_categories = ()


def _hot3d(config):
    """HOT3D recordings: boxes and object poses."""
    config.data.name = "hot3d"


def _adt(config):
    """Aria Digital Twin sequences: true depth is made monocular and aligned back."""
    config.data.name = "adt"
    config.data.corrupt_depth = dict(scale=1.7, shift=0.3, error=0.02)
    config.depth.exclude_segments = False


VARIANTS = {
    "smoke": _smoke,
    "bench": _bench,
    "gliding": _gliding,
    "official": _official,
    "epic_fields": _epic_fields,
    "folder": _folder,
    "hot3d": _hot3d,
    "adt": _adt,
}

r"""LRTL: what moves as one body, from flow and point tracks (Karazija et al. 2024).

Nothing is labelled: points are followed through the clip, those that move as one are a
group, and the groups become masks of every frame.

  python launch.py --config=configs/motion_seg.py                    embedded clip
  python launch.py --config=configs/motion_seg.py:smoke              seconds, for CI
  python launch.py --config=configs/motion_seg.py:folder --config.data.root=MY_CLIP
      a folder of frames, a DAVIS-style sequence or a video
  python launch.py --config=configs/motion_seg.py:davis \
      --config.data.root=data/DAVIS2016 --config.data.clips=bmx-trees
  python launch.py --config=configs/motion_seg.py:segtrack --config.data.root=SegTrackv2
  python launch.py --config=configs/motion_seg.py --config.world.num_frames=2000 \
      "--config.world.size_hw=(136,240)"             a long clip, in bounded memory
  python launch.py --config=configs/tracking.py:gliding \
      --config.data.motion=runs/motion_seg           tracks the groups in 3D
  python launch.py --config=configs/decomposition.py:folder --config.data.root=MY_CLIP \
      --config.data.motion=runs/motion_seg-folder    what moves is no part of the scene
  python launch.py --config=configs/motion_seg.py:fbms --config.data.root=FBMS_clean

Flow and tracks of other tools, a baseline that needs flow alone:

  python launch.py --config=configs/motion_seg.py:davis \
      --config.data.root=data/DAVIS2016 --config.data.clips=bmx-trees \
      --config.flow.method=files --config.flow.root=data/DAVIS2016 \
      --config.tracks.method=cotracker --config.tracks.root=FOLDER_OF_PT_FILES
  python launch.py --config=configs/motion_seg.py --config.solver=flow_magnitude

Tracks grouped by how alike they move, pair by pair, in place of the low-rank loss:

  python launch.py --config=configs/motion_seg.py --config.group.by=affinity

By a network that learns masks, of a clip or of a data set:

  python launch.py --config=configs/motion_seg.py:network             embedded clip
  python launch.py --config=configs/motion_seg.py:davis+network --mode=train \
      --workdir=RUN --config.data.root=data/DAVIS2016 --config.data.split=all
      learns from all its clips
  python launch.py --config=configs/motion_seg.py:folder+network \
      --config.network.weights=RUN --config.data.root=MY_CLIP        and uses that
  python launch.py --config=configs/motion_seg.py:davis+network --workdir=SETS \
      --config.data.root=data/DAVIS2016 --config.data.split=all \
      --config.export.examples=True --only=flow,tracks,examples
      one machine makes flow and tracks
  python launch.py --config=configs/motion_seg.py:examples+network --mode=train \
      --workdir=RUN --config.data.root=SETS
      another learns from them
  python launch.py --config=configs/motion_seg.py:davis+official --mode=train \
      --config.official.backbone=dino_vitbase8_pretrain.pth \
      --config.official.merger=dino_deitsmall8_pretrain.pth \
      --config.data.root=data/DAVIS2016 --config.data.split=all
      the published network; 20,000 steps, for accelerators

Stages
  flow      between frames, both ways: flow/gap1, flow/gap-1; of a network also over
            the other gaps of config.network.gaps
  tracks    points followed along it: points.npz
  group     (points) what moves as one body: groups.npz
  learn     (networks without weights) learn/, network.npz
  masks     of every pixel: labels/, and official/ where config.show.official; of a
            network also groups.npz: the mask that each track is under
  examples  images, flow and tracks as one data set, where config.export.examples
  export    flow and tracks as published, to official/, where config.export.signals
  score     against the truth, where it is known: scores.json
  show      overlay.mp4, report.html
With --config.solver=flow_magnitude or flow_clusters, baselines that take masks from
flow alone, there are no stages tracks and group.

Expect: the embedded clip (80 frames, 432 x 240) takes about a minute on two
CPU cores, with :network three to five.
"""

import base
import ml_collections
from ml_collections.config_dict import placeholder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `arg` names variants joined by "+"."""
    config = base.run("motion_seg", seed=0)
    config.data = dict(
        name="world",  # world | folder | davis | fbms | segtrack | examples
        root=placeholder(str),  # Folder of the data set, or of the user's own clip.
        clips=placeholder(str),  # "bear,bmx-trees"; of the world: seeds, "0,1,2".
        split="val",  # Of davis: train | val | trainval; of fbms: train | test; all.
        year=2016,  # Of davis: 2016 (one mask) | 2017 (objects).
        stride=1,  # Every how many frames.
        max_frames=0,  # Only the first so many of those; 0 = all.
        repeat=1,  # The clip played so often; then files are named pass2_FRAME.
        fps=placeholder(float),
    )
    config.world = dict(
        num_frames=80,
        size_hw=(240, 432),
        faults="none",
        camera_path=placeholder(str),  # Drive the head by these poses (meta.json).
        # gliding (one to four things that move) | handling | kitchen
        scene="gliding",
    )
    # points (the default: point tracks, grouped) | network (small, learns on a CPU) |
    # official (frozen DINO and the published head) | the baselines flow_magnitude (what
    # does not follow the image's motion) and flow_clusters (k-means, GrabCut).
    config.solver = "points"
    config.flow = dict(
        # dis (dense inverse search, no weights) | files | true (of the world: what an
        # estimate costs; tracks along it end where points are hidden) | examples
        method="dis",
        # Of files: the folder with Flows_gap1/ and Flows_gap-1/, each with a folder of
        # .flo for every clip; of any size, as long as the shape is that of the images.
        root=placeholder(str),
    )
    config.tracks = dict(
        method="chain",  # chain (along the flow) | cotracker (its files) | examples
        root=placeholder(str),  # Of cotracker: the folder of CLIP-FRAME.pt.
        stride=6,  # Pixels between points that are sown, or taken from files.
        max_frames=0,  # That a point is chained through; 0 = as long as it can be.
        tolerance=0.5,  # Pixels that forward and backward flow may disagree by.
        texture=0.125,  # Of the mean corner strength, where points are sown.
    )
    config.group = dict(
        # What cuts tracks into parts: low_rank (masks that are free on the tracks
        # descend the low-rank loss; see low_rank) | affinity (of pairs, by a multicut).
        by="low_rank",
        lengths=(15, 5),  # Frames of windows; the short ones for tracks that end soon.
        piece=80,  # Frames that are grouped at once,
        overlap=40,  # and of them those that the next piece sees, too.
        # Lengths are pixels, noise is that of a window; see methods/motion_groups.py.
        noise=0.5,
        tolerance=2.0,
        repulsion=6.0,
        turning=0.5,
        alike=0.7,
        neighbours=12,
        calm=3.0,
        distant=8,
        moving=4.0,
        least_motion=2.5,
        typical=75.0,
        least=6,
    )
    # Of group.by=low_rank; see methods/lowrank_masks.py and methods/lowrank_groups.py.
    config.low_rank = dict(
        masks=8,
        rank=3,  # Singular values that are free; three are shape. [5, of raw tracks]
        keep=3,  # Slow functions of time that a window is reduced to.
        smooth=1.0,  # What a cut between tracks that are near and alike costs.
        price=0.1,  # What masks in use cost.
        start="spectral",  # Of the first descent, others are random | random
        restarts=2,  # Descents, of which the best is kept.
        steps=120,
        batch=12,  # Windows of a step.
        rate=0.2,
        coldest=1.0,  # Temperature of masks at the end, from 1 on; 1 = no annealing.
        merge=True,  # Masks whose union costs less.
        # Squared difference, in squared noise, of a pair that does not hold a part
        # together: a part in several pieces is several. 0 = it is one.
        apart=4.0,
    )
    # Tracks that stand still by their images: shadows, what flow drags along.
    config.still = dict(  # See methods/still_points.py.
        check=True,
        radius=7,
        search=1,
        apart=2.0,
        least=0.3,
        margin=0.1,
        part_margin=0.3,
    )
    config.masks = dict(  # See methods/group_masks.py.
        size=6,
        contrast=1.5,
        floor=1e-3,
        evidence=0.07,
        detail=8.0,
        memory=0.1,
        radius=4,
        epsilon=1e-4,
    )
    # Of flow_clusters: how many, and the weight of places beside flow.
    config.clusters = dict(count=3, position=1.0)
    # official/Flows_gap*/ and official/Tracks/: flow, and tracks of the grid of every
    # frame, as the published training reads them. A gigabyte for 80 frames.
    config.export = dict(
        examples=False,  # examples/: images, flow and tracks, to train from elsewhere.
        signals=False,
        size_hw=(480, 854),  # Of the images that tracks are told to be of.
        grid_stride=4,  # Pixels of these between points.
        grid_step=1,  # The grid in so many parts each way, one after the other.
        max_frames=100,  # Longer clips are cut to a window of one more.
    )
    config.network = dict(
        # A run folder of --mode=train, or its network.npz: nothing is learned then.
        weights=placeholder(str),
        # What is behind: border (the mask with most of the images' border) | look (of
        # two groups of masks that look alike, by the keys of official.merger).
        front="border",
        front_by="clip",  # Chosen by all frames together | frame: each for itself.
        # What moves less than that beside what is behind is no front: pixels of 854
        # columns and frame; 0 = whatever it does.
        least_motion=1.5,
        edges=True,  # Masks along the edges of images, see config.masks. [no]
        # How it learns; published values in brackets where they differ.
        steps=600,  # [20000]
        batch_size=4,  # Images; a multiple of four, and of four times the devices. [8]
        pieces=1,  # In which a batch is worked on, each of whole quadruples.
        size_hw=(96, 172),  # Of images and masks. [(192, 352)]
        num_masks=4,  # Two or three of them share what is behind.
        width=16,  # Channels of the finest level of the small network.
        sees_flow=True,  # The small network, beside the image.
        dtype="float32",  # Of products; "bfloat16" is faster on accelerators.
        gaps=(1, 2),  # Frames that flow spans, both ways.
        flow_hw=(),  # Of flow, as the loss sees it; () = as masks. [(480, 854)]
        half=20,  # Frames of a window of tracks on each side.
        smooth=11,  # Frames of the moving average of tracks; 0 = none.
        # tracks (which end where they are lost; then a point goes on with its
        # neighbours) | files (those of tracks.method=cotracker, as they are: of a
        # frame and its neighbours, where hidden as the tracker guesses) [files]
        windows="tracks",
        num_points=2048,  # Of each image. [70000]
        min_visible=0.1,  # Least share of its window in which a point is seen.
        flip=True,  # Mirror every second item, by chance.
        page_folder=False,  # Images and flow in files of the folder, not in memory.
        rank=5,  # Of the tracks of one thing.
        keep=0,  # Functions of time that windows are reduced to; 0 = all.
        flow_weight=0.03,
        tracks_weight=5e-5,  # For 70,000 points, whatever num_points is.
        temporal_weight=0.1,
        # The loss as the official code has it: half a pixel beside points, and over
        # time in other frames at the ends of a clip; see ops/motion_losses.py.
        published_loss=False,
        ramp_steps=0,  # Of the temporal weight; 0 = all steps. [160000]
        learning_rate=4e-3,  # [1.5e-4]
        warmup_steps=20,  # From warmup_share of it on. [1500, from 1e-6]
        warmup_share=0.0,
        decay="cosine",  # [power: (1 - step / decay_steps)^0.9]
        decay_steps=0,  # 0 = steps. [160000]
        weight_decay=0.01,
        clip_norm=0.01,
        # What is kept is a running mean of weights, of this share of the last mean; 0 =
        # the last weights. Until step `mean_after` it is a copy of them.
        mean_share=0.0,
        mean_after=1500,
        log_every=10,
        checkpoint_every=100,
    )
    config.official = dict(  # Of config.solver=official.
        backbone=placeholder(str),  # dino_vitbase8_pretrain.pth
        merger=placeholder(str),  # dino_deitsmall8_pretrain.pth, for front="look".
        # A published checkpoint, such as davis_alt_best.pth: nothing is learned then.
        weights=placeholder(str),
        mean=True,  # Of its two sets of weights the running mean, where it has one.
        # Of the backbone: recompute in each step | cached: found once for each frame
        # and its mirror image, in a file of the run folder, as half floats.
        keys="recompute",
        # Of the head; published.
        width=256,
        layers=6,
        hidden=2048,
        dropout=0.1,
    )
    # Of metrics.json: frames (all alike) | davis2016 | lrtl-davis, lrtl-frames: as
    # published.
    config.eval = dict(protocol="frames")
    # MB of images that stay in memory from one stage to the next; those of a clip with
    # more are read, or drawn, by each stage.
    config.read.keep = 500.0
    # `official`: soft/, hard/ and comp/ as the published system leaves them.
    config.show = dict(overlay=True, report=True, official=False)
    for variant in filter(None, arg.split("+")):
        VARIANTS[variant](config)
    return config


def _smoke(config):
    """Seconds on a CPU: few frames, small ones."""
    config.world.size_hw = (96, 160)
    config.data.max_frames = 16
    config.group.lengths = (7, 5)
    config.group.least_motion = 1.0
    config.low_rank.update(masks=4, restarts=1, steps=40)
    config.tracks.stride = 4
    config.network.update(
        steps=20,
        batch_size=4,
        size_hw=(48, 80),
        width=8,
        half=5,
        smooth=3,
        num_points=512,
        warmup_steps=2,
        log_every=5,
        checkpoint_every=10,
    )


def _folder(config):
    """The user's own clip."""
    config.data.name = "folder"


def _davis(config):
    """DAVIS 2016, its validation set unless clips are named."""
    config.data.name = "davis"
    config.eval.protocol = "davis2016"


def _fbms(config):
    """FBMS-59, its test set unless clips are named."""
    config.data.name = "fbms"
    config.data.split = "test"
    config.network.gaps = (3, 6)  # As published.


def _segtrack(config):
    """SegTrack v2."""
    config.data.name = "segtrack"


def _examples(config):
    """What another run has exported by config.export.examples."""
    config.data.name = "examples"
    config.flow.method = config.tracks.method = "examples"


def _network(config):
    """A small network that learns on the clip."""
    config.solver = "network"


def _official(config):
    """The published network and schedule; wants files, see config.official."""
    config.solver = "official"
    config.network.update(
        front="look",
        front_by="frame",
        least_motion=0.0,
        edges=False,
        steps=20_000,
        batch_size=8,
        size_hw=(192, 352),
        flow_hw=(480, 854),
        page_folder=True,  # 1.6 MB a flow.
        num_points=70_000,
        ramp_steps=160_000,
        learning_rate=1.5e-4,
        warmup_steps=1500,
        warmup_share=1e-6,
        decay="power",
        decay_steps=160_000,
        mean_share=0.99,
        log_every=50,
        checkpoint_every=250,
    )


VARIANTS = {
    "smoke": _smoke,
    "network": _network,
    "official": _official,
    "folder": _folder,
    "davis": _davis,
    "fbms": _fbms,
    "segtrack": _segtrack,
    "examples": _examples,
}

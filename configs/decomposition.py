r"""NeuralDiff: static scene, moving things, actor (Tschernezki et al., 3DV 2021).

A clip with poses is explained by three radiance fields that sum to each image: what
never moves, what is moved now and then, and the wearer's body. Nothing is labelled.

  python launch.py --config=configs/decomposition.py                  embedded clip
  python launch.py --config=configs/decomposition.py:smoke            seconds, for CI
  python launch.py --config=configs/decomposition.py:folder --config.data.root=MY_CLIP
      with a COLMAP model, cameras.json or EPIC-FIELDS JSON in it;
      --config.cameras.refine=True where its poses are a little wrong,
      --config.data.motion=runs/motion_seg where configs/motion_seg.py found what
      moves, or 'masks/{clip}', masks of another source
  python launch.py --config=configs/decomposition.py:epic_diff \
      --config.data.root=data/EPIC-Diff --config.data.clips=P01_01   the official layout
  python launch.py --config=configs/decomposition.py:epic_diff+official  as published
      --config.train.weights=ckpts/rel/{clip}/epoch=9.ckpt    published weights
  python launch.py --config=configs/decomposition.py:bench            quality per time
  python launch.py --config=configs/decomposition.py:bench+nerfw      a baseline
  python launch.py --config=configs/decomposition.py --mode=convert \
      --config.convert.colmap_dir=DIR --config.convert.out=data/custom/VID \
      --config.convert.scale=8            a COLMAP scene into the official layout
  python launch.py --config=configs/tracking.py \
      --config.depth.fields=runs/decomposition          tracks, with the static depth

Stages
  fit       fields of this clip: fit/ (checkpoints, log), fields.npz
  render    every frame as the fields show it: streams/, fixed/ (one viewpoint)
  score     held-out frames, and soft masks where the truth is known: scores.json
  show      summary.mp4, report.html

Expect: the embedded clip (120 frames, 114 x 64) trains in two minutes on two CPU cores;
with pictures and report the job takes three.
"""

import base
import ml_collections
from ml_collections.config_dict import placeholder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `arg` names variants joined by "+"."""
    config = base.run("decomposition", seed=0)
    config.data = dict(
        name="world",  # world | folder | epic_diff
        root=placeholder(str),  # Folder of the data set, or of the user's own clip.
        clips=placeholder(str),  # "P01_01,P03_04"; of the world: seeds, "0,1,2".
        stride=1,  # Every how many frames.
        max_frames=0,  # Only the first so many of those; 0 = all.
        repeat=1,  # The clip played so often.
        scale=4.0,  # Images are made so many times smaller.
        fps=placeholder(float),
        # Run folder of configs/motion_seg.py on the same clips, at their whole size; or
        # a folder with a mask of each frame, named as the frame: not 0 where something
        # moves. {clip} in it is the clip's name. See loss.motion.
        motion=placeholder(str),
    )
    config.world = dict(
        num_frames=120,
        size_hw=(256, 456),
        faults="none",  # none | all | poses | exposure | lighting
        camera_path=placeholder(str),  # Drive the head by these poses (meta.json).
        # kitchen | handling (one thing carried about) | gliding (things that fly)
        scene="kitchen",
    )
    config.views = dict(
        # Of 2n frames in order the first is for tests, the n-th for validation, the
        # rest to train on; 0 = all to train on.
        split_nth=8,
        # Rows of time codes: linear in the numbers of frames | rank | id. Data sets
        # that come with splits and bounds keep theirs.
        slots="linear",
        num_slots=placeholder(int),
        near=placeholder(float),  # World units; by the points where nothing is said.
        far=placeholder(float),
        near_floor=0.05,  # Quantile of near over the clip, below which none goes.
    )
    config.fields = dict(kind="grid")  # grid | neuraldiff | nerf | nerfw | tnerf
    config.grid = dict(  # Of kind=grid.
        # Of positions: hash | planes (no gathers: for TPUs; several times slower on a
        # CPU), with the sizes of `planes` below.
        kind="hash",
        static=dict(levels=8, coarsest=16, finest=256, log2_rows=15),
        moving=dict(levels=6, coarsest=8, finest=96, log2_rows=14),
        proposal=dict(levels=4, coarsest=8, finest=64, log2_rows=12),
        actor_levels=4,  # Of the actor's grid, of directions and time.
        actor_cells=32,  # Of directions, along each side of the finest level,
        actor_frames=2.0,  # and how many frames a cell of time is long there.
        actor_log2_rows=14,
        planes=dict(  # A volume of so many cells along each side, and planes.
            features=4,
            dtype="float32",  # Of products: float32 | bfloat16
            chunk_mb=0.5,  # Of the largest matrix of some points; on a TPU some 64.
            static=dict(volume=16, levels=3, coarsest=16, finest=64),
            moving=dict(volume=8, levels=3, coarsest=8, finest=48),
            proposal=dict(volume=8, levels=2, coarsest=16, finest=32),
            actor_volume=4,
        ),
        width=64,
        direction_bands=2,
        actor_bands=6,
        appearance_dim=8,
        time_dim=16,
        time_basis=0,  # Functions of time; 0 = as many as tell neighbours from far.
        density_bias=-1.0,  # Of fresh densities of the static stream,
        changing_bias=-4.0,  # and of the others.
        num_proposal=32,  # Intervals of a ray: of the proposal,
        num_final=20,  # and those that are rendered.
        floor=0.3,  # Share of intervals that go anywhere.
        calm=0.25,  # Share of the far end below which the world learns less.
        bend=0.05,  # Share of the far end up to which positions are linear.
    )
    config.nerf = dict(  # Of all other kinds, with the published names.
        N_emb_xyz=10,
        N_emb_dir=4,
        N_samples=64,
        N_importance=64,
        perturb=1.0,
        noise_std=1.0,
        N_vocab=1000,
        N_a=48,
        N_tau=17,
        lowpass_K=21,
        model_width=256,
        mixing="normalized",  # normalized ("+C") | separate (NeRF-W)
        last="official",  # Share of the last sample: official | normalized
        official_rays=True,  # No half pixel; near and far are distances.
        dtype="float32",  # Of products: float32 | bfloat16
    )
    config.loss = dict(
        beta=1.0,  # Share of the uncertainty that streams say; 0 = all errors count.
        beta_min=0.03,
        far_wall=True,  # In training rays end at a wall of random colour.
        density=0.01,  # Weight of the density of what is not static.
        distortion=0.1,  # kind=grid: of how widely a ray's weight is spread,
        motion=0.1,  # of what data.motion says moves and the fields say is static,
        rest=0.0,  # and, times that, of what rests and is not static.
    )
    config.cameras = dict(  # Of kind=grid.
        refine=False,  # Poses have errors, which are learned.
        rate=0.3,  # Times the learning rate, of poses.
        penalty=0.01,  # Weight of how far cameras are moved.
        # Then the poses of frames that were held out, by their images, while the fields
        # stay as they are; 0 = they are taken as they come.
        align_steps=200,
        exposure=False,  # Colours of each frame have a gain of their own.
    )
    config.train = dict(
        weights=placeholder(str),  # Fields that exist: fields.npz or a published .ckpt.
        steps=3200,
        batch_size=256,  # Rays, over all devices.
        pieces=1,  # In which the gradient of a batch is found: for less memory.
        epochs=0,  # Where > 0, instead of steps: so often every ray, as published.
        ratio=1.0,  # Share of an epoch's steps that are taken.
        optimizer="adam",  # adam | sgd
        weight_decay=0.0,  # Of weights themselves, not of their gradients (AdamW).
        learning_rate=0.01,
        grid_rate=3.0,  # Times the learning rate, of tables.
        schedule="cosine",  # cosine | epochs (the published one: constant in each)
        final_share=0.05,  # Of the learning rate, at the end.
        # A validation frame, for the log and TensorBoard: after the first block, and
        # then; 0 = never.
        evaluate_every=1000,
        block=25,  # Steps that are dispatched at once.
        # MB of images in the memory of the host, with 4/3 of that for the order of
        # rays. Where there are more, they are read from a file, so many at a time, and
        # only rays of these mix.
        host_images=4000.0,
        log_every=100,
        checkpoint_every=1000,
    )
    # MB of images that each device holds. Where there are more, steps are given the
    # colours of their rays; nothing else changes.
    config.read.device_images = 2000.0
    config.render = dict(
        frames="all",  # all | held_out | test
        max_frames=0,  # So many of them, evenly spaced; 0 = all.
        fixed=30,  # Times at which one viewpoint is rendered; 0 = none, -1 = all.
        fixed_frame=placeholder(str),  # Whose viewpoint; the middle of the path.
        suppress_actor=False,  # Take the actor away; what it hides is completed.
        chunk=2048,  # Rays at a time.
    )
    config.eval = dict(
        ssim=True,
        # Root of the EPIC Fields benchmark, with split/ and annotations/: its splits,
        # its numbers. Clips have the names of videos, images the size of the masks.
        benchmark=placeholder(str),
    )
    # `official`: the published figures, video and metrics.txt.
    config.show = dict(summary=True, report=True, official=False)
    # --mode=convert: a COLMAP or EPIC-FIELDS scene into the layout of NeuralDiff.
    config.convert = dict(
        colmap_dir=placeholder(str),  # Folder with sparse/0 and images; or these two:
        model=placeholder(str),  # Folder of a COLMAP model, or an EPIC-FIELDS JSON.
        images=placeholder(str),  # Folder of its images.
        out=placeholder(str),  # Folder of the scene to write.
        scale=1.0,  # By what the sides of images are divided.
        split_nth=8,  # Every how many frames one is held out; 0 = none.
        quality=95,  # Of JPEGs.
    )
    for variant in filter(None, arg.split("+")):
        VARIANTS[variant](config)
    return config


def _smoke(config):
    """Seconds on a CPU."""
    config.world.num_frames = 12
    config.world.size_hw = (64, 112)
    config.data.scale = 2.0
    config.train.steps = 40
    config.train.epochs = 0
    config.train.batch_size = 128
    config.train.block = 20
    config.train.log_every = 20
    config.nerf.model_width = 32
    config.nerf.N_samples = 8
    config.nerf.N_importance = 8
    config.grid.num_proposal = 16
    config.grid.num_final = 12
    config.render.fixed = 2


def _bench(config):
    """Quality per time: a textured room, a thing that is carried about, an arm."""
    config.world.scene = "handling"
    config.world.num_frames = 64
    config.world.size_hw = (72, 128)
    config.data.scale = 2.0
    config.data.clips = "0-2"  # To develop on; the table's are 100-102.
    config.train.steps = 3400  # A minute of one core.
    config.train.batch_size = 128
    config.render.fixed = 0


def _official(config):
    """The published network, sampling, loss and schedule."""
    config.fields.kind = "neuraldiff"
    config.views.near_floor = 0.0
    config.train.batch_size = 1024
    config.train.epochs = 10
    config.train.learning_rate = 5e-4
    config.train.schedule = "epochs"


def _baseline(kind):
    def change(config):
        """A baseline, by the published code of EPIC Fields."""
        _official(config)
        config.fields.kind = kind

    return change


def _folder(config):
    """The user's own folder."""
    config.data.name = "folder"


def _epic_diff(config):
    """Scenes in the layout of NeuralDiff: meta.json, frames/, annotations/."""
    config.data.name = "epic_diff"
    config.data.scale = 1.0


VARIANTS = {
    "smoke": _smoke,
    "bench": _bench,
    "official": _official,
    "nerf": _baseline("nerf"),
    "nerfw": _baseline("nerfw"),
    "tnerf": _baseline("tnerf"),
    "folder": _folder,
    "epic_diff": _epic_diff,
}

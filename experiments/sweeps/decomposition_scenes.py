"""Fields of several scenes, one process and device each: how fast, and how long.

    python experiments/sweep.py --sweep=decomposition_scenes --devices=0,1,2,3
    python experiments/sweep.py --sweep=decomposition_scenes --backend=slurm \
        --slurm.partition=gpu --slurm.gpus_per_node=1

Three procedural scenes of 120 frames a row; the job fits a field to each, so a shard is
a scene, and a row shows the mean over the scenes.
"""

from sweep_settings import grid

CONFIG = "configs/decomposition.py"
CLIPS = ("0", "1", "2")
JOBS = "shards"
SETTINGS = grid(
    {"train.learning_rate": [0.005, 0.01, 0.02], "train.steps": [3200, 9600]}
)
COLUMNS = ("psnr", "psnr_static", "psnr_dynamic", "mAP")
BEST = "psnr:max"

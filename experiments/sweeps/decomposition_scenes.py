"""Fields of several scenes, one process and device each: how fast, and how long.

    python experiments/sweep.py --sweep=decomposition_scenes --devices=0,1,2,3
    python experiments/sweep.py --sweep=decomposition_scenes --backend=slurm \
        --slurm.partition=gpu --slurm.gpus_per_node=1

A field is of one scene, so each scene is a run of its own and a row shows the mean over
the scenes.
"""

from sweep_settings import grid

CONFIG = "configs/decomposition.py"
MODE = "train"
CLIPS = ("0", "1", "2")
JOBS = "scenes"
SETTINGS = grid({"train.learning_rate": [3e-3, 1e-2, 3e-2], "train.steps": [500, 2000]})

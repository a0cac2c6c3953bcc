"""What a place and an appearance weigh in the association, on the embedded clip's kin.

    python experiments/sweep.py --sweep=tracking_costs --workers=2

Ten worlds of 120 frames a row; a run observes its clips itself, about a minute a clip.
"""

from sweep_settings import grid

CONFIG = "configs/tracking.py"
CLIPS = tuple(str(seed) for seed in range(10))
JOBS = "shards"
SETTINGS = grid(
    {
        "assoc.location_weight": [25.0, 50.0, 100.0],
        "assoc.appearance_weight": [1.25, 2.5, 5.0],
        "show.overlay": [False],
        "show.report": [False],
    }
)
BEST = "HOTA:max"

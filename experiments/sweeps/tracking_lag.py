"""How long may an association wait: a fixed lag of 0 to 16 frames, and offline.

    python experiments/sweep.py --sweep=tracking_lag --workers=2

Each row is the same five benchmark clips of 600 frames (development seeds).
"""

from sweep_settings import grid

CONFIG = "configs/tracking.py:bench"
CLIPS = ("0", "1", "2", "3", "4")
JOBS = "shards"
SETTINGS = [
    {"assoc.mode": "online"},
    *grid({"assoc.mode": ["lagged"], "assoc.lag": [2, 4, 8, 16]}),
    {"assoc.mode": "offline"},
]
COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "IDSW")
BEST = "HOTA:max"

"""How natural the procedural world is: its pictures' statistics beside real ones.

    python experiments/world_looks.py [--seeds 3] [--benchmark 30] [--sheet FILE.png]

A table of image statistics for frames of several worlds and, where they are at hand,
for the stills of EPIC P28_101; the absences of benchmark clips; a contact sheet.
"""

import argparse
import itertools
import os
import pathlib
from collections.abc import Sequence

import cv2
import numpy as np

from egojax.data.world import benchmark, make_clip

SIZE = (256, 456)
STEP = 5  # Frames between the EPIC stills; ours are taken as far apart.


def statistics(frames: Sequence[np.ndarray]) -> dict[str, float]:
    """Of pictures that are STEP frames apart; 0-255 scale, pixels."""
    gray = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]
    lab = np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2LAB) for f in frames]).astype(float)
    gx = np.diff(np.stack(gray).astype(float), axis=2)[:, 1:]
    gy = np.diff(np.stack(gray).astype(float), axis=1)[:, :, 1:]
    gradient = np.hypot(gx, gy)
    moves = [
        np.linalg.norm(_dense_flow(a, b), axis=-1) for a, b in itertools.pairwise(gray)
    ]
    found = {
        "brightness": lab[..., 0].mean(),
        "contrast": lab[..., 0].std((1, 2)).mean(),
        "dark share": (lab[..., 0] < 60).mean(),
        "bright share": (lab[..., 0] > 215).mean(),
        "colour a std": lab[..., 1].std(),
        "colour b std": lab[..., 2].std(),
    }
    for q in (25, 50, 75, 90, 99):
        found[f"gradient {q}%"] = np.percentile(gradient, q)
    found["motion median"] = np.median(moves)
    found["motion 90%"] = np.percentile(moves, 90)
    return {name: float(value) for name, value in found.items()}


def _dense_flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Farneback's flow between two gray pictures, with a window for large motion."""
    start = np.zeros((*a.shape, 2), np.float32)
    return cv2.calcOpticalFlowFarneback(a, b, start, 0.5, 5, 31, 5, 7, 1.5, 0)


def real_frames() -> list[np.ndarray]:
    """The EPIC stills, or nothing where they are not at hand."""
    root = pathlib.Path(__file__).resolve().parents[1]
    base = os.environ.get("EGOJAX_REAL_DATA", root.parent / "shared" / "data" / "real")
    paths = sorted((pathlib.Path(base) / "epic_P28_101" / "images").glob("*.jpg"))
    return [np.asarray(cv2.imread(str(p)))[..., ::-1].copy() for p in paths]


def world_frames(seeds: int, per_seed: int = 24) -> list[list[np.ndarray]]:
    """Runs of frames, STEP apart, of several worlds."""
    runs = []
    for seed in range(seeds):
        clip = make_clip(1000 + seed, per_seed * STEP, size_hw=SIZE)
        frames = clip.sources["frames"]
        runs.append([frames[t] for t in range(0, per_seed * STEP, STEP)])
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--benchmark", type=int, default=0, help="seeds to count")
    parser.add_argument("--sheet", default="", help="where to write a contact sheet")
    args = parser.parse_args()
    runs = world_frames(args.seeds)
    ours = [statistics(run) for run in runs]
    real = statistics(frames) if (frames := real_frames()) else {}
    print(f"{'statistic':16s} {'EPIC':>8s} {'worlds':>8s}   lowest  highest")
    for name in ours[0]:
        values = [o[name] for o in ours]
        epic = f"{real[name]:8.2f}" if real else "       -"
        print(
            f"{name:16s} {epic} {np.mean(values):8.2f} "
            f"{min(values):8.2f} {max(values):8.2f}"
        )
    for seed in range(args.benchmark):
        seen = benchmark.world_sightings(benchmark.bench_world(seed))
        gaps = [a.length for a in benchmark.find_absences(seen)]
        print(
            f"benchmark {seed:2d}: {len(gaps)} absences, the longest {max(gaps)} frames"
        )
    if args.sheet:
        rows = [np.concatenate(run[:: max(1, len(run) // 4)][:4], 1) for run in runs]
        cv2.imwrite(args.sheet, cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()

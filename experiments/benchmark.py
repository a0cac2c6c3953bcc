"""The standard tracking benchmark: every method on the same observations.

    python experiments/benchmark.py --seeds=0-9                      (development)
    python experiments/benchmark.py --seeds=100-119 --out=runs/table (once, the table)

Clips of 600 frames, 24 objects as 8 triples of look-alikes, in two variants of input
(`ids_only`, `all`). A clip is rendered and observed once; every row names the same
segments. What was observed, and finished clips, are kept in the folder, so that a run
can be continued; `--observe` stops before anything is named. The table at the end has
95 % bootstrap intervals over clips.
"""

import argparse
import pathlib
import sys
import time

import numpy as np

from egojax.apps import cli
from egojax.data import observations, results
from egojax.methods import association, evaluation, observing
from egojax.metrics import (
    bootstrap_difference,
    bootstrap_interval,
    pooled,
)
from egojax.metrics.schema import is_percent
from egojax.tasks import assoc_config, clips, observed, opening, tracking

CONFIG = "configs/tracking.py"
PRESETS = ("ids_only", "all")
ROWS = {
    "official": dict(mode="official"),
    "online": dict(mode="online"),
    "online, exact": dict(mode="online", solver="exact"),
    "online, lag 4": dict(mode="lagged"),
    "offline": dict(mode="offline"),
}
COLUMNS = ("HOTA", "DetA", "AssA", "IDF1", "IDSW")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--out", default="runs/benchmark")
    parser.add_argument("--weights", help="npz of learned weights, for one more row")
    parser.add_argument("--observe", action="store_true", help="observe only")
    arguments = parser.parse_args(argv)
    rows = dict(ROWS)
    if arguments.weights:
        rows["online, trained"] = dict(mode="online", weights=arguments.weights)
    out = pathlib.Path(arguments.out)
    for preset in PRESETS:
        config = cli.load_config(cli.find_config(CONFIG)[0], "bench")
        config.world.faults = preset
        config.data.clips = arguments.seeds
        for name, opener in clips.make(
            config, opening.prepared, opening.settled
        ).items():
            folder = out / preset / name
            start = time.monotonic()
            if (folder / "scores.json").exists():
                continue
            clip, kept = opener(), folder / "observations"
            observe(config, clip, kept)
            if not arguments.observe:
                run_clip(config, clip, rows, folder)
            print(f"{preset} {name}: {time.monotonic() - start:.0f} s", flush=True)
        if not arguments.observe:
            print(table(out / preset, preset))
    return 0


def observe(config, clip, kept: pathlib.Path) -> None:
    """Observes what is not observed yet of a clip."""
    kept.mkdir(parents=True, exist_ok=True)
    first = observations.next_frame(kept)
    if first == clip.num_frames:
        return
    settings = tracking.settings_of(config, clip)
    static = opening.scene_of(config, clip)
    for chunk in observing.observe_clip(clip, settings, static, start=first):
        observations.write_chunk(kept, chunk)


def run_clip(config, clip, rows: dict, folder: pathlib.Path) -> None:
    """Scores every row's naming of the segments that were observed."""
    chunks = observations.read_chunks(folder / "observations")
    seen = observed.join_chunks(chunks)
    location = observed.locate(clip, seen, config.depth)
    columns = observed.columns_of(clip, seen, location)
    frames = list(evaluation.true_frames(clip))
    nobody = association.Identities(
        columns.segment_id, np.ones(len(location), np.float32)
    )
    table = observed.table_of(seen, location, nobody)
    ids = {"2D ids": table.segment_id}
    for row, changes in rows.items():
        one = config.copy_and_resolve_references()
        one.assoc.update(changes)
        ids[row] = assoc_config.associate(columns, table.area, one).track_id
    ids["true ids"] = evaluation.true_ids(frames, table)
    scores = tracking.score_ids(config, clip, frames, table, ids)
    results.write_scores(folder, scores)


def table(folder: pathlib.Path, title: str) -> str:
    """All clips together, a line a row, with intervals and differences to 2D ids."""
    done = sorted(path.parent for path in folder.glob("*/scores.json"))
    found = [results.read_scores(path) for path in done]
    names = [row for row in found[0] if all(row in one for one in found)]
    heads = [*COLUMNS, "PCL after longest absence"]
    lines = [
        f"\n### `{title}`, {len(found)} clips\n",
        "| | " + " | ".join(heads) + " |",
        "|---|" + "---:|" * len(heads),
    ]
    for row in names:
        scores = [one[row]["tracking"] for one in found]
        cells = [_cell(column, scores) for column in COLUMNS]
        absent = [
            _number(one[row]["numbers"], "PCL_after_longest_absence") for one in found
        ]
        cells.append(f"{100 * np.nanmean(absent):.1f}")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines.append("\nDifferences, mean over clips with 95 % interval:\n")
    pairs = [("2D ids", row) for row in names[1:-1]]
    pairs += [("official", "online")] if "official" in names else []
    pairs += [("online", row) for row in names if row in ("offline", "online, trained")]
    for first, second in pairs:
        lines.append(f"- {second} - {first}: " + _differences(found, first, second))
    return "\n".join(lines)


def _cell(column: str, scores: list) -> str:
    if column == "IDSW":
        values = [float(s.compute()[column]) for s in scores]
        interval = bootstrap_interval(values)
        return f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"
    interval = bootstrap_interval(scores, pooled(column), num_samples=200)
    scale = 100 if is_percent(column) else 1
    return (
        f"{scale * interval.value:.1f} "
        f"[{scale * interval.low:.1f}, {scale * interval.high:.1f}]"
    )


def _differences(found: list, first: str, second: str) -> str:
    cells = []
    for column in ("AssA", "IDF1", "IDSW"):
        a = [_number(one[first]["numbers"], column) for one in found]
        b = [_number(one[second]["numbers"], column) for one in found]
        gap = bootstrap_difference(a, b)
        scale = 100 if is_percent(column) else 1
        cells.append(
            f"{column} {scale * gap.value:+.1f} "
            f"[{scale * gap.low:+.1f}, {scale * gap.high:+.1f}]"
        )
        if column == "IDSW":
            cells[-1] += f" ({100 * gap.value / max(np.mean(a), 1e-9):+.0f} %)"
    return ", ".join(cells)


def _number(numbers: dict, name: str) -> float:
    value = numbers.get(name)
    return float("nan") if value is None else float(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

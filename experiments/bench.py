"""Times every hot path against two plain references, in one process and one run.

    python experiments/bench.py [NAME ...] [--json=FILE]

A line a path: ours, the published algorithm written plainly, the best that a good
engineer writes in an hour with numpy or scipy, both ratios, the error between ours and
the reference, and the compile time. Ratios are what to look at: absolute times differ
by machine, which is why the machine's own speed is printed above the table.
"""

import importlib
import json
import pathlib
import platform
import sys
import time
from typing import Any

import jax
import numpy as np

SUITES = (
    *("association", "geometry", "metrics", "fields", "motion"),
    *("world", "job", "start"),
)
COLUMNS = ("ours_ms", "reference_ms", "simple_ms", "ratio_reference", "ratio_simple")


def machine() -> dict[str, Any]:
    """What the numbers were measured on, and how fast it is at plain things."""
    a = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    big = np.zeros(1 << 26, np.uint8)
    return {
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "gemm_gflops": round(2 * 1024**3 / _best(lambda: a @ a) / 1e9, 1),
        "copy_gb_per_s": round(2 * big.nbytes / _best(big.copy) / 1e9, 1),
    }


def _best(call: Any, repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def format_row(row: dict[str, Any]) -> str:
    cells = [f"{row['name']:<58}"]
    for key in COLUMNS:
        value = row.get(key)
        suffix = "x" if key.startswith("ratio") else ""
        cells.append(
            "-".rjust(11) if value is None else f"{value:10.3f}{suffix or ' '}"
        )
    error = row.get("error")
    cells.append("-".rjust(9) if error is None else f"{error:9.1e}")
    compile_s = row.get("compile_s")
    cells.append("-".rjust(8) if compile_s is None else f"{compile_s:7.2f}s")
    return " ".join(cells) + f"  {row.get('note', '')}"


def main(argv: list[str]) -> int:
    names = [a for a in argv if not a.startswith("--")] or list(SUITES)
    unknown = sorted(set(names) - set(SUITES))
    if unknown:
        print(f"bench: no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
        return 2
    files = [a.removeprefix("--json=") for a in argv if a.startswith("--json=")]
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    about = machine()
    print(" | ".join(f"{key} {value}" for key, value in about.items()))
    heads = ("ours ms", "published ms", "simple ms", "x publ.", "x simple")
    print(
        f"{'path':<58} " + " ".join(f"{h:>11}" for h in heads) + "     error  compile"
    )
    rows = []
    for name in names:
        for row in importlib.import_module(f"bench_{name}").rows():
            print(format_row(row), flush=True)
            rows.append(row)
    for file in files:
        pathlib.Path(file).write_text(json.dumps({"machine": about, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

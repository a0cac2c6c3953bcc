"""How soon the launcher answers."""

import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMMANDS = {
    "launch.py --help (bar: 500 ms)": ["launch.py", "--help"],
    "import egojax (bar: 500 ms)": ["-c", "import egojax"],
    "python alone, for comparison": ["-c", "pass"],
}


def rows() -> Iterator[dict[str, Any]]:
    """A row a command: the best of seven starts of a fresh interpreter."""
    for name, words in COMMANDS.items():
        times = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, *words], cwd=ROOT, check=True, capture_output=True
            )
            times.append(time.perf_counter() - start)
        yield {"name": name, "ours_ms": 1e3 * min(times)}

"""Processor times on one core, in a process of its own, and what the core can do."""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


def rows_of(program: str) -> Iterator[dict[str, Any]]:
    """The lines that a program prints by `print_rows`, in a process on one core."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    env = os.environ | dict.fromkeys(threads, "1")
    one = "--xla_cpu_multi_thread_eigen=false"
    env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} {one}"
    command = [sys.executable, program]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            yield json.loads(line)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)


def print_rows(rows: Iterable[dict[str, Any]]) -> None:
    """What the program of `rows_of` runs."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for row in rows:
        print(json.dumps(row), flush=True)


def cpu_ms(calls: Sequence[Callable[[], Any]], turns: int) -> list[float]:
    """Least processor time of each call in milliseconds, taken in turns."""
    best = [np.inf] * len(calls)
    for _ in range(turns):
        for k, call in enumerate(calls):
            begin = time.process_time()
            call()
            best[k] = min(best[k], 1e3 * (time.process_time() - begin))
    return best


def first_call(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its processor seconds: most of them compile."""
    begin = time.process_time()
    out = jax.block_until_ready(call())
    return out, time.process_time() - begin


class Machine(NamedTuple):
    """What one core does at best."""

    flops: float  # A second, of matrix products.
    bytes: float  # A second, read and written by a copy.

    def floor_ms(self, flops: float, bytes_moved: float = 0.0) -> float:
        return 1e3 * (flops / self.flops + bytes_moved / self.bytes)


@functools.cache
def machine() -> Machine:
    a, b = np.ones((8192, 256), np.float32), np.ones((256, 256), np.float32)
    big = np.ones(1 << 25, np.uint8)
    product, copy = cpu_ms([lambda: a @ b, big.copy], 9)
    return Machine(2 * a.size * 256 / product * 1e3, 2 * big.nbytes / copy * 1e3)


def floor_note(ours_ms: float, floor_ms: float) -> str:
    return f"{ours_ms / floor_ms:.1f}x the floor of {floor_ms:.3g} ms"


def largest_error(found: Any, expected: np.ndarray) -> float:
    """Of all elements, relative to the largest one."""
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())

"""Four CPU devices, strict JAX, quick compiles; where the real recordings are.

Most of the suite's time is XLA's, so its effort is cut to what programs that run once
are worth. To test the programs that users get instead:

    XLA_FLAGS=--xla_cpu_use_fusion_emitters=true JAX_DISABLE_MOST_OPTIMIZATIONS=0 \\
    make test
"""

import gc
import importlib.metadata
import os
import pathlib
import resource

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_FLAGS = ["--xla_force_host_platform_device_count=4"]
# XLA's former code for fusions compiles in two thirds of the time, in half of it where
# nothing is optimized. XLA ends at a flag that it does not know: only where it does.
if importlib.metadata.version("jaxlib").startswith(("0.10.", "0.11.", "0.12.")):
    _FLAGS.insert(0, "--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*_FLAGS, os.environ.get("XLA_FLAGS", "")])
ROOT = pathlib.Path(__file__).resolve().parents[1]
# Also of the processes that tests start.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax  # noqa: E402
import pytest  # noqa: E402

# Whole jobs compile far longer than they run. Tests of functions keep the optimizer.
JOBS = [ROOT / "tests" / name for name in ("apps", "experiments", "train")]
EFFORT = "JAX_DISABLE_MOST_OPTIMIZATIONS"
ROOMY = 2**30 * 2  # Bytes that a worker keeps; beyond it, compiled programs go.

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture(autouse=True, scope="module")
def effort(request):
    """Optimizes little where whole jobs run; ends with programs forgotten, if many."""
    with pytest.MonkeyPatch.context() as patch:
        if EFFORT not in os.environ:
            quick = any(folder in request.path.parents for folder in JOBS)
            jax.config.update(EFFORT.lower(), quick)
            patch.setenv(EFFORT, str(int(quick)))  # Of the processes it starts.
        yield
    if resident() > ROOMY:
        jax.clear_caches()
        gc.collect()


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    table = pathlib.Path("/proc/self/statm")
    pages = int(table.read_text().split()[1]) if table.exists() else 0
    return pages * resource.getpagesize()


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real recordings; skips where it is absent."""
    path = pathlib.Path(
        os.environ.get("EGOJAX_REAL_DATA", ROOT.parent / "shared" / "data" / "real")
    )
    if not path.is_dir():
        pytest.skip(f"no real recordings: EGOJAX_REAL_DATA names no folder ({path})")
    return path

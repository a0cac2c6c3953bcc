"""Four CPU devices, strict JAX, a compile cache; where the real recordings are.

Most of the suite's time is XLA's. Where tests compile far more than they run, as of
whole jobs, it optimizes nothing (QUICKLY); other tests run the programs that users get.
EGOJAX_TEST_OPTIMIZED=1 makes that all of them.
"""

import functools
import gc
import importlib.metadata
import inspect
import os
import pathlib
import resource
from collections.abc import Callable

DEVICES = " --xla_force_host_platform_device_count=4"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + DEVICES
ROOT = pathlib.Path(__file__).resolve().parents[1]
# Also of the processes that tests start.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src import compiler  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.devices()  # Reads XLA_FLAGS: what follows there is for other processes.

QUICKLY = [
    "apps",
    "experiments",
    "train",
    "methods/test_field_learning.py",
    "methods/test_lowrank_groups.py",
    "methods/test_lowrank_masks.py",
    "methods/test_mask_learning.py",
    "methods/test_published_run.py",
    "tasks/test_mask_networks.py",
    "tasks/test_mask_training.py",
]
# With XLA's former code for fusions it takes half as long again. XLA ends at a flag
# that it does not know: these releases know it.
OLD = importlib.metadata.version("jaxlib").startswith(("0.10.", "0.11.", "0.12."))
PLAIN = {"xla_backend_optimization_level": 0}
PLAIN |= {"xla_cpu_use_fusion_emitters": False} if OLD else {}
ROOMY = 2**30 * 2  # Bytes that a worker keeps; beyond it, compiled programs go.


@pytest.fixture(autouse=True, scope="module")
def effort(request):
    """What XLA does for the programs of a file; forgets them where they are many."""
    path = request.path.relative_to(ROOT / "tests").as_posix()
    with pytest.MonkeyPatch.context() as patch:
        if (
            path.startswith(tuple(QUICKLY))
            and "EGOJAX_TEST_OPTIMIZED" not in os.environ
        ):
            compile_plainly(patch)
        yield
    if resident() > ROOMY:
        jax.clear_caches()
        gc.collect()


def compile_plainly(patch: pytest.MonkeyPatch) -> None:
    """Here, and in processes that are started."""
    words = [f"--{name}={str(value).lower()}" for name, value in PLAIN.items()]
    patch.setenv("XLA_FLAGS", " ".join([*words, os.environ["XLA_FLAGS"]]))
    # JAX has no public switch for it; without this place, compiling takes longer.
    real = getattr(compiler, "get_compile_options", None)
    if real and "env_options_overrides" in inspect.signature(real).parameters:
        patch.setattr(compiler, "get_compile_options", plainly(real))


def plainly(real: Callable) -> Callable:
    @functools.wraps(real)
    def options(*args, env_options_overrides=None, **more):
        asked = PLAIN | (env_options_overrides or {})
        return real(*args, env_options_overrides=asked, **more)

    return options


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

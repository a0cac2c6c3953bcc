"""Four CPU devices, strict JAX, a compile cache; where the real recordings are."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real recordings; skips where it is absent."""
    path = pathlib.Path(
        os.environ.get("EGOJAX_REAL_DATA", ROOT.parent / "shared" / "data" / "real")
    )
    if not path.is_dir():
        pytest.skip(f"no real recordings: EGOJAX_REAL_DATA names no folder ({path})")
    return path

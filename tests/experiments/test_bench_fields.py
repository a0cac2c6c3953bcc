"""The bench of radiance fields on tiny sizes: all references agree with ours."""

import importlib.util
import pathlib

import pytest

from egojax.methods.grid_rendering import GridSettings
from egojax.models.grid_fields import GridConfig
from egojax.models.nerf import NerfConfig
from egojax.ops.hash_grid import HashGrid

EXPERIMENTS = pathlib.Path(__file__).resolve().parents[2] / "experiments"
TINY = GridConfig(
    static=HashGrid(3, 4, 64, 10),
    moving=HashGrid(2, 4, 16, 8),
    proposal=HashGrid(2, 4, 16, 8),
    width=16,
    num_slots=64,
    time_basis=5,
)


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location(
        "bench_fields", EXPERIMENTS / "bench_fields.py"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("grid", [TINY.static, HashGrid(2, 4, 8, 12)])
def test_features_and_gradients_of_grids_agree_with_numpy(bench, grid):
    lines = list(bench.encode_rows("tiny", grid, 300, turns=1))
    assert [line["error"] < 1e-5 for line in lines] == [True, True]
    assert all(line["ours_ms"] > 0 and line["simple_ms"] > 0 for line in lines)


def test_importance_samples_and_compositing_agree_with_numpy(bench):
    assert bench.sampling_row(20, 16, turns=1)["error"] < 1e-5
    assert bench.composite_row(20, 16, turns=1)["error"] < 1e-5


def test_a_step_of_the_fast_fields_has_a_rate_and_a_floor(bench):
    settings = GridSettings(num_proposal=6, num_final=4)
    line = bench.grid_row("tiny", TINY, settings, 32, steps=2, turns=1)
    assert line["ours_ms"] > 0 and line["compile_s"] > 0
    assert "rays/s" in line["note"] and "the floor" in line["note"]


def test_the_published_step_costs_what_its_authors_count(bench):
    """818.5 MFLOP a ray with padding and unhoisted codes, which we leave out."""
    flops = bench.official_flops(NerfConfig(), bench.RenderSettings())
    assert 0.95 * 818.5e6 < flops < 818.5e6


def test_without_torch_the_row_says_so(bench, monkeypatch):
    monkeypatch.setattr(bench, "torch_python", lambda: None)
    # The step itself is a matter of the tests of learning, and long to compile.
    monkeypatch.setattr(bench, "trainer", lambda *_: lambda: sum(range(10**5)))
    config = NerfConfig(width=8, num_slots=64)
    line = bench.official_row(config, num_rays=8, pieces=2, turns=1)
    assert line["ours_ms"] > 0 and line["ratio_reference"] is None
    assert bench.TORCH_PYTHON in line["note"]


def test_plain_pytorch_gives_the_same_loss_and_gradients(bench):
    python = bench.torch_python()
    if python is None:
        pytest.skip(f"no torch: {bench.TORCH_PYTHON} names no Python that has it")
    config = NerfConfig(width=32, num_slots=64)
    state, scene = bench.random_state(config), bench.make_scene()
    picked = bench.rays_in(scene, 1, 16)[0]
    with bench.Torch(python, state, scene, picked) as torch:
        theirs = torch.ask(check=16)
        seconds = torch.ask(steps=2, rays=4)["seconds"]
    assert len(seconds) == 2 and min(seconds) > 0
    loss, norms = bench.loss_and_norms(state, scene, picked)
    assert loss == pytest.approx(theirs["loss"], rel=1e-5)
    assert norms.keys() == theirs["norms"].keys()
    for name, norm in norms.items():
        assert norm == pytest.approx(theirs["norms"][name], rel=1e-2), name


def test_a_program_that_ends_early_is_an_error(bench, tmp_path):
    config = NerfConfig(width=8, num_slots=64)
    state, scene = bench.random_state(config), bench.make_scene()
    broken = {k: v[:1] for k, v in state.items()}
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    picked = bench.rays_in(scene, 1, 2)[0]
    with (
        pytest.raises(RuntimeError, match=r"neuraldiff_torch.py ended: 3"),
        bench.Torch(str(python), broken, scene, picked) as torch,
    ):
        torch.ask(check=2)

"""The bench of radiance fields on tiny sizes: all references agree with ours."""

import re

import pytest

from egojax.models.nerf import NerfConfig
from egojax.ops.hash_grid import HashGrid
from egojax.ops.plane_grid import PlaneGrid
from tests.experiment_modules import load

GRIDS = [
    HashGrid(3, 4, 64, 10),
    HashGrid(2, 4, 8, 12),
    PlaneGrid(3, 2, 4, 9, 3, along_z=1.7),
]


@pytest.fixture(scope="module")
def bench():
    return load("bench_fields")


def test_planes_work_by_products_alone(bench):
    """By hand: 8 nodes of the volume, 3 x 9 of planes, 4 numbers each."""
    work = bench.encode_work(PlaneGrid(1, 1, 2, 2))
    assert work == (2.0 * 35 * 4, 0.0)
    scene, ours, planes = (
        bench.make_scene(),
        bench.bench_config(),
        bench.plane_config(),
    )
    hashed = bench.grid_work(ours, bench.fields_of(ours, scene)[1])
    sizes = bench.fields_of(planes, scene)[1]
    assert isinstance(sizes.actor, PlaneGrid)
    found = bench.grid_work(planes, sizes)
    assert hashed.bytes > 0 and found.bytes == 0 and found.flops > hashed.flops


@pytest.fixture
def tiny(bench):
    """The config of the bench with small tables, few intervals and few rays."""
    config = bench.bench_config()
    for name in ("static", "moving", "proposal"):
        config.grid[name].update(levels=2, coarsest=4, finest=16, log2_rows=8)
    config.grid.num_proposal, config.grid.num_final = 6, 4
    config.train.batch_size = 32
    return config


@pytest.mark.parametrize("grid", GRIDS)
def test_features_and_gradients_of_grids_agree_with_numpy(bench, grid):
    lines = list(bench.encode_rows("tiny", grid, 300, turns=1))
    assert [line["error"] < 1e-5 for line in lines] == [True, True]
    assert all(line["ours_ms"] > 0 and line["simple_ms"] > 0 for line in lines)


def test_importance_samples_and_compositing_agree_with_numpy(bench):
    assert bench.sampling_row(20, 16, turns=1)["error"] < 1e-5
    assert bench.composite_row(20, 16, turns=1)["error"] < 1e-5


def test_colours_from_the_host_are_those_of_the_published_loader(bench):
    line = bench.colors_row(3, (8, 9), batch=20, turns=1)
    assert line["error"] == 0.0 and line["ours_ms"] > 0
    assert line["reference_ms"] > 0 and line["simple_ms"] > 0
    assert "M rays/s" in line["note"]


def test_a_step_of_the_fast_fields_has_a_rate_and_a_floor(bench, tiny):
    line = bench.grid_row("tiny", tiny, steps=2, turns=1)
    assert line["ours_ms"] > 0 and line["compile_s"] > 0
    assert "rays/s" in line["note"] and "the floor" in line["note"]


def test_tables_of_spec_size_have_their_rows(bench):
    scene = bench.make_scene()
    _, sizes = bench.fields_of(bench.spec_size_config(), scene)
    assert (sizes.static.levels, sizes.static.log2_rows) == (12, 19)
    assert sizes.static == bench.GridConfig().static


def test_a_frame_needs_less_memory_than_its_samples(bench, tiny):
    """A quarter of what one hidden layer would take for all samples of the frame."""
    tiny.grid.num_final = 64
    line = bench.frame_row("tiny", tiny, (160, 240), turns=1)
    found, whole = map(float, re.findall(r"(\d+) MB", line["note"]))
    assert line["ours_ms"] > 0
    assert whole == pytest.approx(4e-6 * 160 * 240 * 64 * 64, abs=1)
    assert found < 0.25 * whole


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

"""Real head-camera frames to poses, to a surface, to depth: the own-video path."""

import dataclasses

import jax
import numpy as np
import pytest

from egojax.data import colmap
from egojax.methods import static_scene
from egojax.ops import camera as camera_ops
from egojax.ops import surface
from egojax.types import Clip, Source


@pytest.fixture(scope="module")
def model(real_data, tmp_path_factory):
    pycolmap = pytest.importorskip("pycolmap")
    images = real_data / "epic_P28_101" / "images"
    work = tmp_path_factory.mktemp("sfm")
    # One thread: with more, no two models are the same.
    pycolmap.extract_features(
        work / "db",
        images,
        camera_mode=pycolmap.CameraMode.SINGLE,
        extraction_options=pycolmap.FeatureExtractionOptions(num_threads=1),
    )
    matching = pycolmap.FeatureMatchingOptions(num_threads=1)
    pycolmap.match_exhaustive(work / "db", matching_options=matching)
    mapping = pycolmap.IncrementalPipelineOptions(num_threads=1)
    for seed in range(5):  # Some starts give two small models.
        pycolmap.set_random_seed(seed)
        folder = work / str(seed)
        maps = pycolmap.incremental_mapping(
            work / "db", images, folder, options=mapping
        )
        best = max(maps, key=lambda key: maps[key].num_reg_images(), default=None)
        if best is not None and maps[best].num_reg_images() >= 6:
            return colmap.read_model(folder / str(best))
    return pytest.fail("no start registers six of the eight frames")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_real_model_is_read_meshed_and_rendered(model):
    cameras = colmap.cameras_by_name(model)
    assert len(cameras) >= 6
    names = tuple(sorted(cameras))
    points = model.points
    assert len(points) > 300
    clip = Clip(
        name="P28_101",
        frame_ids=names,
        size_hw=(256, 456),
        camera=Source.of([cameras[name] for name in names]),
        points=points,
    )
    render = static_scene.static_renderer(clip, points="surface")
    assert render is not None
    shares, ratios = [], []
    for name in names:
        camera = cameras[name]
        depth = render(camera)
        shares.append(np.isfinite(depth).mean())
        flat = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), camera)
        seen = camera_ops.project(flat, points.astype(np.float32))
        xy, z = np.asarray(seen.xy), np.asarray(seen.z)
        inside = (z > 0) & (xy > 0).all(1) & (xy[:, 0] < 456) & (xy[:, 1] < 256)
        x, y = xy[inside].astype(int).T
        ratio = depth[y, x] / z[inside]
        ratios.append(ratio[np.isfinite(ratio)])
    # The points span a part of each frame. The surface holds them all, so that none is
    # in front of it (but by the pixel that was looked at), and most lie near its front.
    assert np.mean(shares) > 0.25
    ratio = np.concatenate(ratios)
    assert (ratio < 1.02).mean() > 0.95
    assert np.median(np.abs(ratio - 1)) < 0.1


@pytest.mark.parametrize(("lens", "bound"), [(False, 1e-5), (True, 2e-3)])
def test_both_renderers_agree_on_the_real_surface(model, lens, bound):
    """Through a lens the JAX renderer takes the nearest pixel of a pinhole's map."""
    pytest.importorskip("embreex")
    camera = next(iter(colmap.cameras_by_name(model).values()))
    if not lens:
        camera = dataclasses.replace(camera, lens="pinhole", distortion=None)
    scene = surface.mesh_from_points(model.points)
    clip = Clip("c", ("0",), (256, 456), camera=Source.of([camera]), mesh=scene)
    maps = [
        static_scene.static_renderer(clip, kind)(camera) for kind in ("jax", "embree")
    ]
    both = np.isfinite(maps[0]) & np.isfinite(maps[1])
    assert (np.isfinite(maps[0]) != np.isfinite(maps[1])).mean() < 5e-3
    assert np.median(np.abs(maps[0][both] / maps[1][both] - 1)) < bound

"""The procedural world's layers agree with each other and with the exact geometry."""

import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.data import world as worlds
from egojax.data.world import clip as clips
from egojax.data.world import render, shade, state
from egojax.errors import UsageError

SIZE = (96, 168)
FRAMES = 24


@pytest.fixture(scope="module")
def world() -> worlds.World:
    return worlds.make_world(3, FRAMES, num_objects=8, lookalikes=1)


@pytest.fixture(scope="module")
def clip(world):
    return worlds.make_clip(world, size_hw=SIZE)


def camera_points(world, t, points):
    """Camera axes of world points, in float64."""
    return points @ world.w2c[t, :3, :3].T + world.w2c[t, :3, 3]


def pixels(world, t, points):
    cam = camera_points(world, t, points)
    k = clips.intrinsics(SIZE).astype(float)
    return cam[:, :2] / cam[:, 2:] * [k[0, 0], k[1, 1]] + k[:2, 2], cam[:, 2]


def test_a_seed_gives_the_same_world_and_picture_twice(clip):
    again = worlds.make_clip(3, FRAMES, size_hw=SIZE, num_objects=8, lookalikes=1)
    for t in (0, FRAMES - 1):
        np.testing.assert_array_equal(again.frames[t], clip.frames[t])
        np.testing.assert_array_equal(again.truth.labels[t], clip.truth.labels[t])
    other = worlds.make_clip(4, FRAMES, size_hw=SIZE, num_objects=8, lookalikes=1)
    assert (other.frames[0] != clip.frames[0]).mean() > 0.5


def test_frames_do_not_depend_on_the_order_of_reading(clip, world):
    fresh = worlds.make_clip(world, size_hw=SIZE)
    late = fresh.frames[7]
    np.testing.assert_array_equal(late, clip.frames[7])
    np.testing.assert_array_equal(fresh.truth.depth[2], clip.truth.depth[2])


def test_layers_have_the_types_of_a_clip(clip):
    truth = clip.truth
    height, width = SIZE
    assert (
        clip.frames[0].shape == (height, width, 3) and clip.frames[0].dtype == np.uint8
    )
    assert truth.labels[0].shape == SIZE and truth.labels[0].dtype == np.int32
    assert truth.depth[0].dtype == np.float32 and truth.static_depth[0].shape == SIZE
    assert truth.masks[0].shape == (8, *SIZE) and truth.masks[0].dtype == bool
    assert truth.actor[0].dtype == bool
    assert truth.mask_ids == tuple(range(1, 9))
    assert truth.flow_fwd[0].shape == (height, width, 2)
    assert truth.flow_fwd[FRAMES - 1] is None and truth.flow_bwd[0] is None
    segments = truth.segments[0]
    np.testing.assert_array_equal(segments.ids, np.setdiff1d(truth.labels[0], [0]))


@pytest.mark.parametrize("t", [0, 9, 17, FRAMES - 1])
def test_amodal_masks_contain_what_is_seen(clip, t):
    truth = clip.truth
    labels, masks = truth.labels[t], truth.masks[t]
    for obj in np.unique(labels[labels > 0]):
        assert masks[obj - 1][labels == obj].all()


def test_the_static_scene_is_never_in_front_of_what_is_seen(clip, world):
    truth = clip.truth
    for t in (0, 12, FRAMES - 1):
        assert (truth.static_depth[t] >= truth.depth[t] - 1e-5).all()
        differs = truth.static_depth[t] > truth.depth[t] + 1e-4
        movable = np.flatnonzero(~world.static_bodies)
        may_move = truth.actor[t] | np.isin(truth.labels[t], movable)
        assert may_move[differs].all()


def test_depth_is_the_distance_to_the_nearest_triangle_on_the_ray(clip, world):
    """Every triangle against a few rays, in float64 (Moeller and Trumbore)."""
    t, rng = 11, np.random.default_rng(0)
    pose = world.body_poses[t][world.vertex_body]
    at = np.einsum("vij,vj->vi", pose[:, :3, :3], world.vertices) + pose[:, :3, 3]
    a, b, c = np.moveaxis(camera_points(world, t, at)[world.faces], 1, 0)
    k = clips.intrinsics(SIZE)
    depth, labels = clip.truth.depth[t], clip.truth.labels[t]
    wrong = 0
    for row, col in rng.integers(0, SIZE, (150, 2)):
        ray = np.array(
            [(col + 0.5 - k[0, 2]) / k[0, 0], (row + 0.5 - k[1, 2]) / k[1, 1], 1.0]
        )
        normal = np.cross(b - a, c - a)
        slope = normal @ ray
        z = np.einsum("fi,fi->f", normal, a) / np.where(slope < 0, slope, -1.0)
        p = z[:, None] * ray
        inside = (slope < 0) & (z > 0.05)
        for u, v in ((a, b), (b, c), (c, a)):
            inside &= np.einsum("fi,fi->f", np.cross(v - u, p - u), normal) >= 0
        nearest = np.flatnonzero(inside)[np.argmin(z[inside])]
        body = world.face_body[nearest]
        wrong += abs(z[nearest] - depth[row, col]) > 1e-3 * z[nearest]
        wrong += (body if body <= world.num_objects else 0) != labels[row, col]
    assert wrong <= 2  # A ray through an edge may take either side.


def test_visible_tracks_lie_at_the_depth_of_their_pixel(clip, world):
    seen = 0
    for t in range(0, FRAMES, 6):
        tracks = clip.truth.tracks[t]
        xy = tracks.tracks_xy[tracks.visibility]
        assert ((xy >= 0) & (xy < [SIZE[1], SIZE[0]])).all()
        seen += len(xy)
    assert seen > 100
    assert not all(clip.truth.tracks[t].visibility.all() for t in range(0, FRAMES, 6))


def test_tracks_move_with_the_flow(clip):
    t = 8
    now, then = clip.truth.tracks[t], clip.truth.tracks[t + 1]
    both = now.visibility & then.visibility
    xy = now.tracks_xy[both]
    flow = clip.truth.flow_fwd[t][xy[:, 1].astype(int), xy[:, 0].astype(int)]
    error = np.linalg.norm(xy + flow - then.tracks_xy[both], axis=-1)
    assert np.median(error) < 0.05 and np.quantile(error, 0.9) < 0.5


@pytest.mark.parametrize(("step", "name"), [(1, "flow_fwd"), (-1, "flow_bwd")])
def test_flow_carries_labels_onto_themselves(clip, step, name):
    t = 10
    labels, target = clip.truth.labels[t], clip.truth.labels[t + step]
    flow = getattr(clip.truth, name)[t]
    row, col = np.mgrid[: SIZE[0], : SIZE[1]]
    x = np.floor(col + 0.5 + flow[..., 0]).astype(int)
    y = np.floor(row + 0.5 + flow[..., 1]).astype(int)
    inside = (x >= 0) & (x < SIZE[1]) & (y >= 0) & (y < SIZE[0]) & (labels > 0)
    assert inside.sum() > 100
    assert (target[y[inside], x[inside]] == labels[inside]).mean() > 0.9


def test_labels_lie_within_the_projected_boxes_of_their_objects(clip, world):
    t = 5
    objects, labels = clip.truth.objects[t], clip.truth.labels[t]
    for obj in np.unique(labels[labels > 0]):
        low, high = objects.extent[obj - 1]
        box = np.array(
            [
                [(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]]
                for i in (0, 1)
                for j in (0, 1)
                for k in (0, 1)
            ]
        )
        pose = objects.o2w[obj - 1]
        xy, z = pixels(world, t, box @ pose[:3, :3].T + pose[:3, 3])
        if (z < 0.1).any():
            continue
        row, col = np.nonzero(labels == obj)
        assert (col + 1 >= xy[:, 0].min()).all() and (col <= xy[:, 0].max()).all()
        assert (row + 1 >= xy[:, 1].min()).all() and (row <= xy[:, 1].max()).all()


def test_occlusion_is_the_hidden_share_of_the_amodal_mask(clip):
    for t in (0, 13):
        objects, labels, masks = (
            clip.truth.objects[t],
            clip.truth.labels[t],
            clip.truth.masks[t],
        )
        for k, share in enumerate(objects.occlusion):
            whole = masks[k].sum()
            expected = 1.0 if whole == 0 else 1.0 - (labels == k + 1).sum() / whole
            assert share == pytest.approx(expected, abs=1e-6)


def test_tiny_pictures_and_single_frames_work():
    size = (1, 3)
    clip = worlds.make_clip(1, 1, size_hw=size, num_objects=1, lookalikes=0)
    assert clip.frames[0].shape == (*size, 3)
    assert clip.truth.depth[0].shape == size and np.isfinite(clip.truth.depth[0]).all()
    assert clip.truth.tracks[0].tracks_xy.shape[1] == 2
    assert clip.truth.flow_fwd[0] is None


def test_lookalikes_are_exact_copies(world):
    assert world.categories[0] == world.categories[1] == world.categories[2]
    shapes = [world.vertices[world.vertex_body == k] for k in (1, 2, 3)]
    np.testing.assert_array_equal(shapes[0], shapes[1])
    np.testing.assert_array_equal(shapes[0], shapes[2])


def test_the_static_mesh_gives_the_static_depth(clip, world):
    assert clip.mesh.faces.max() < len(clip.mesh.vertices)
    xy, z = pixels(world, 4, clip.mesh.vertices[clip.mesh.faces].mean(1).astype(float))
    ahead = (z > 0.3) & (xy >= 0).all(1) & (xy < [SIZE[1], SIZE[0]]).all(1)
    at = xy[ahead].astype(int)
    depth = clip.truth.static_depth[4][at[:, 1], at[:, 0]]
    assert (z[ahead] > depth * 0.9 - 0.02).mean() > 0.98  # Nothing hangs in free space.


def test_sizes_out_of_range_are_told_at_once():
    with pytest.raises(UsageError) as err:
        worlds.make_world(0, 0, num_objects=99)
    assert "num_frames" in str(err.value) and "num_objects" in str(err.value)


def test_frames_in_a_batch_are_the_frames_one_by_one(world):
    renderer = clips.Renderer(world, (12, 20))
    scene = render.make_scene(world, (12, 20))
    views = [renderer.view(t) for t in (0, 9, 20)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *views)
    together = jax.vmap(render.draw, in_axes=(None, 0))(scene, batch)
    for k, view in enumerate(views):
        alone = render.draw(scene, view)
        np.testing.assert_array_equal(together.labels[k], alone.labels)
        np.testing.assert_array_equal(together.masks[k], alone.masks)
        np.testing.assert_allclose(together.depth[k], alone.depth, rtol=1e-5)


def test_every_step_lowers_for_all_devices(world):
    scene, paint = render.make_scene(world, (16, 24)), shade.make_paint(world)
    view = clips.Renderer(world, (16, 24)).view(3)
    layers = jax.eval_shape(render.draw, scene, view)
    key, light = jax.random.key(0), jnp.ones(2)
    points = jax.eval_shape(
        lambda *a: render.pick_points(*a, 8), scene, layers, view, key
    )
    for step, args in (
        (render.draw, (scene, view)),
        (render.flow, (scene, layers, view, view)),
        (render.follow_points, (scene, layers, view, points)),
        (shade.photograph, (scene, paint, layers, view, view, light, key)),
    ):
        lowered = jax.export.export(step, platforms=("cpu", "cuda", "tpu"))(*args)
        assert lowered.platforms == ("cpu", "cuda", "tpu")


def test_worlds_are_frozen_host_arrays(world):
    for field in dataclasses.fields(world):
        assert not isinstance(getattr(world, field.name), jax.Array)
    with pytest.raises(dataclasses.FrozenInstanceError):
        world.seed = 1
    assert worlds.make_clip(world).category_names == state.CATEGORY_NAMES

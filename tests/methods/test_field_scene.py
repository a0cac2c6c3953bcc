"""Scenes for radiance fields: what is read of a clip, which rays a step sees."""

import dataclasses
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.data.frame_stack import FrameStack
from egojax.errors import FrameError, UsageError
from egojax.methods import field_scene
from egojax.methods.field_rays import moved_rays
from egojax.models.poses import PoseErrors
from egojax.ops import camera as camera_ops
from egojax.types import Camera, Clip, Source, View

SIZE = (6, 8)
COUNT = 5


def make_clip(**changes) -> Clip:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (COUNT, *SIZE, 3)).astype(np.uint8)
    poses = []
    for t in range(COUNT):
        angle = 0.1 * t
        pose = np.eye(4)
        pose[:3, :3] = [
            [np.cos(angle), 0, np.sin(angle)],
            [0, 1, 0],
            [-np.sin(angle), 0, np.cos(angle)],
        ]
        pose[:3, 3] = 0.1 * t, -0.2, 0.3
        poses.append(pose)
    intrinsics = np.array([[7.0, 0, 4.2], [0, 6.5, 2.9], [0, 0, 1]])
    cameras = [Camera(intrinsics, pose, size_hw=SIZE) for pose in poses]
    split = ("train", "test", "train", "val", "train")
    views = [View(0.5 + 0.1 * t, 4.0 + t, 3 * t, split[t]) for t in range(COUNT)]
    clip = Clip(
        "mine",
        tuple(f"f{t}" for t in range(COUNT)),
        SIZE,
        frames=Source.of(list(images)),
        camera=Source.of(cameras),
        views=Source.of(views),
    )
    return clip.replace(**changes)


def test_a_scene_holds_what_a_field_needs():
    clip = make_clip()
    found = field_scene.read_scene(clip)
    assert found.frame_idx.tolist() == list(range(COUNT)) and not found.skipped
    assert found.rows("train").tolist() == [0, 2, 4]
    assert found.rows("val", "test").tolist() == [1, 3]
    scene = found.scene
    assert scene.images.dtype == np.uint8 and scene.size_hw == SIZE
    np.testing.assert_array_equal(scene.images[3], clip.frames[3])
    np.testing.assert_allclose(scene.near, [0.5, 0.6, 0.7, 0.8, 0.9])
    assert scene.slots.tolist() == [0, 3, 6, 9, 12]
    assert scene.looks.tolist() == [0, 0, 6, 6, 12]  # Ties to the smaller.


def test_frames_that_lack_something_are_left_out():
    def broken(t):
        if t == 2:
            raise FrameError("f2.jpg: broken")
        return make_clip().frames[t]

    def camera(t):
        return None if t == 4 else make_clip().camera[t]

    clip = make_clip(frames=Source(broken, COUNT), camera=Source(camera, COUNT))
    found = field_scene.read_scene(clip)
    assert found.frame_idx.tolist() == [0, 1, 3]
    assert [tuple(one) for one in found.skipped] == [(2, "f2.jpg: broken")]


def fisheye(t):
    camera = make_clip().camera[t]
    if t != 1:
        return camera
    return dataclasses.replace(camera, lens="opencv", distortion=np.zeros(8))


def torn(t):
    raise FrameError(f"m{t}.png: torn")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"streams": {"motion": Source(torn, COUNT)}}, "the first: m0.png: torn"),
        ({"frames": None}, "needs frames"),
        ({"camera": None, "views": None}, "needs camera, views"),
        ({"camera": Source(lambda t: None, COUNT)}, "no frame has an image"),
        ({"views": Source.of([View(1, 2, 0, "test")] * COUNT)}, "no frame to train on"),
        ({"camera": Source(fisheye, COUNT)}, "several lenses"),
    ],
)
def test_what_cannot_be_learned_is_one_line(changes, said):
    with pytest.raises(UsageError, match=said):
        field_scene.read_scene(make_clip(**changes))


def on_device(clip):
    return jax.tree.map(jnp.asarray, field_scene.read_scene(clip).scene)


def test_rays_are_those_of_the_camera_and_end_at_the_depths_of_the_view():
    scene = on_device(make_clip())
    frame, pixel = jnp.array([3, 1, 3]), jnp.array([0, 19, 47])
    rays = field_scene.rays_of(scene, frame, pixel)
    for k, (t, at) in enumerate(zip(frame, pixel, strict=True)):
        camera = jax.tree.map(np.float32, make_clip().camera[int(t)])
        xy = jnp.array([[at % 8 + 0.5, at // 8 + 0.5]])
        true = camera_ops.camera_rays(camera, xy)
        np.testing.assert_allclose(rays.ray_dirs[k], true.ray_dirs[0], atol=1e-6)
        np.testing.assert_allclose(rays.ray_origins[k], true.ray_origins[0], atol=1e-6)
        for length, depth in (
            (rays.near[k], scene.near[t]),
            (rays.far[k], scene.far[t]),
        ):
            end = rays.ray_origins[k] + length * rays.ray_dirs[k]
            z = camera_ops.project(camera, end[None]).z[0]
            np.testing.assert_allclose(z, depth, rtol=1e-5)
    assert rays.slots.tolist() == [9, 3, 9] and rays.looks.tolist() == [6, 0, 6]


def test_published_rays_leave_from_corners_and_take_depths_for_distances():
    scene = on_device(make_clip())
    frame, pixel = jnp.array([3, 1]), jnp.array([9, 19])
    rays = field_scene.rays_of(scene, frame, pixel, official=True)
    np.testing.assert_allclose(rays.near, scene.near[frame])
    np.testing.assert_allclose(rays.far, scene.far[frame])
    plane = rays.camera_dirs / -rays.camera_dirs[:, 2:]
    expected = [
        [(1 - 4.2) / 7, -(1 - 2.9) / 6.5, -1],
        [(3 - 4.2) / 7, -(2 - 2.9) / 6.5, -1],
    ]
    np.testing.assert_allclose(plane, expected, atol=1e-6)


def test_rays_are_moved_as_cameras_are():
    """In the step and, when all is learned, once for all frames."""
    scene = field_scene.read_scene(make_clip()).scene
    rng, errors = np.random.default_rng(1), PoseErrors(13)
    for part in (errors.shift, errors.turn):
        part[...] = jnp.asarray(0.1 * rng.normal(size=(13, 3)), jnp.float32)
    frame, pixel = jnp.array([3, 1, 4]), jnp.array([0, 19, 47])
    in_step = moved_rays(
        field_scene.rays_of(scene, frame, pixel), errors, jnp.float32(0.7)
    )
    placed = field_scene.moved(scene, errors, 0.7)
    once = field_scene.rays_of(placed, frame, pixel)
    for name in ("ray_origins", "ray_dirs", "camera_dirs", "near", "far"):
        np.testing.assert_allclose(
            getattr(in_step, name), getattr(once, name), atol=2e-6
        )
    still = field_scene.moved(scene, PoseErrors(13), 0.7)
    np.testing.assert_allclose(still.camera.w2c, scene.camera.w2c, atol=1e-6)


def test_what_is_known_of_motion_is_read_with_the_frames():
    masks = [np.zeros(SIZE, bool) for _ in range(COUNT)]
    masks[2][1, 3] = True
    masks[4] = None
    clip = make_clip(streams={"motion": Source.of(masks)})
    scene = on_device(clip)
    frame, pixel = jnp.array([2, 2, 4]), jnp.array([11, 12, 11])
    found = field_scene.values_of(scene.motion, frame, pixel)
    assert found[:2].tolist() == [1.0, 0.0] and 0.0 < found[2] < 1.0
    assert field_scene.read_scene(make_clip()).scene.motion is None
    assert field_scene.read_places(clip).scene.motion is None


def test_colors_are_those_of_the_image():
    clip = make_clip()
    images = on_device(clip).images
    found = field_scene.values_of(images, jnp.array([2, 0]), jnp.array([47, 9]))
    expected = [clip.frames[2][5, 7] / 255, clip.frames[0][1, 1] / 255]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_images_are_those_of_the_one_array_they_were_read_into(monkeypatch):
    stacks = []

    class Told(FrameStack):
        def array(self):
            stacks.append(super().array())
            return stacks[-1]

    monkeypatch.setattr(field_scene, "FrameStack", Told)
    scene = field_scene.read_scene(make_clip()).scene
    assert len(stacks) == 1 and scene.images is stacks[0]


def test_reading_needs_little_more_memory_than_the_images():
    """4 MB of frames, made one by one: less than a fifth more at any moment."""
    size, count = (64, 96), 228
    cameras = [make_clip().camera[0].replace(size_hw=size)] * count
    clip = make_clip(
        frame_ids=tuple(f"f{t}" for t in range(count)),
        size_hw=size,
        frames=Source(lambda t: np.full((*size, 3), t % 256, np.uint8), count),
        camera=Source.of(cameras),
        views=Source.of([View(0.5, 4.0, t, "train") for t in range(count)]),
    )
    tracemalloc.start()
    try:
        scene = field_scene.read_scene(clip).scene
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert scene.images.nbytes == 3 * count * 64 * 96
    assert peak < 1.2 * scene.images.nbytes


def test_images_in_a_file_are_those_in_memory(tmp_path):
    inside, outside = (
        field_scene.read_scene(make_clip(), folder=folder).scene.images
        for folder in (None, tmp_path / "fit")
    )
    assert isinstance(outside, np.memmap) and not isinstance(inside, np.memmap)
    np.testing.assert_array_equal(outside, inside)
    assert not list((tmp_path / "fit").iterdir())  # A file without a name.


def test_frames_of_several_sizes_are_refused():
    def frame(t):
        image = make_clip().frames[t]
        return image[:, :1] if t == 3 else image

    with pytest.raises(UsageError, match=r"frame 3 is uint8 \(6, 1, 3\), those before"):
        field_scene.read_scene(make_clip(frames=Source(frame, COUNT)))

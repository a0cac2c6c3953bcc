import dataclasses

import numpy as np
import pytest
from PIL import Image

from egojax.data.images import read_image
from egojax.data.rectified_images import Job, write_rectified
from egojax.errors import UsageError
from egojax.ops import camera as camera_ops

PINHOLE = camera_ops.camera_from_colmap("PINHOLE", (100, 101, 31, 25), (48, 64))


def picture(folder, name="a.png", size=(64, 48)):
    small = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    image.save(folder / name)
    return folder / name


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif", ".tiff", ".PNG"])
def test_an_image_that_needs_nothing_keeps_its_pixels(tmp_path, suffix):
    source, target = picture(tmp_path), tmp_path / "deep" / f"b{suffix}"
    assert write_rectified([Job(source, target, PINHOLE)], PINHOLE, (48, 64)) == [""]
    np.testing.assert_array_equal(read_image(target), read_image(source))


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".webp"])
def test_what_is_lost_when_coding_stays_small(tmp_path, suffix):
    source, target = picture(tmp_path), tmp_path / f"b{suffix}"
    write_rectified([Job(source, target, PINHOLE)], PINHOLE, (48, 64))
    gap = read_image(target).astype(int) - read_image(source)
    assert np.sqrt((gap**2).mean()) < (12 if suffix == ".webp" else 2)


def test_images_are_resized_with_the_filter_of_lanczos(tmp_path):
    source, target = picture(tmp_path), tmp_path / "b.png"
    write_rectified([Job(source, target, PINHOLE)], PINHOLE, (24, 32))
    # As floats, from the definition: sinc(x) sinc(x / 3), stretched by 2.
    at = (np.arange(64)[None] + 0.5 - 2 * (np.arange(32)[:, None] + 0.5)) / 2
    kernel = np.where(np.abs(at) < 3, np.sinc(at) * np.sinc(at / 3), 0)
    across, down = kernel, kernel[:24, :48]
    image = read_image(source).astype(float)
    image = np.einsum("ij,ujc->uic", across / across.sum(1, keepdims=True), image)
    image = np.einsum("ij,jvc->ivc", down / down.sum(1, keepdims=True), image)
    np.testing.assert_allclose(read_image(target), image.clip(0, 255), atol=2)


def test_jobs_report_why_they_were_not_done_in_their_order(tmp_path):
    good = picture(tmp_path)
    other = picture(tmp_path, "c.png", (30, 48))
    jobs = [
        Job(tmp_path / "none.png", tmp_path / "1.png", PINHOLE),
        Job(good, tmp_path / "2.png", PINHOLE),
        Job(other, tmp_path / "3.png", PINHOLE),
        Job(good, tmp_path / "4.png", PINHOLE, "not wanted"),
    ]
    calls = []
    reasons = write_rectified(
        jobs, PINHOLE, (48, 64), progress=lambda *at: calls.append(at), workers=3
    )
    assert "no such file" in reasons[0]
    assert "30 x 48 pixels; expected 64 x 48, at any scale" in reasons[2]
    assert [reasons[1], reasons[3]] == ["", "not wanted"]
    assert calls == [(n, 4) for n in range(1, 5)]
    assert sorted(p.name for p in tmp_path.glob("[0-9].png")) == ["2.png"]


def test_what_is_there_stays(tmp_path):
    source = picture(tmp_path)
    (tmp_path / "b.png").write_bytes(b"mine")
    (tmp_path / "c.png").write_bytes(b"")  # As a power cut leaves it.
    jobs = [Job(source, tmp_path / name, PINHOLE) for name in ("b.png", "c.png")]
    assert write_rectified(jobs, PINHOLE, (48, 64)) == ["", ""]
    assert (tmp_path / "b.png").read_bytes() == b"mine"
    np.testing.assert_array_equal(read_image(tmp_path / "c.png"), read_image(source))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    source = picture(tmp_path)
    job = Job(source, source / "b.png", PINHOLE)
    with pytest.raises(UsageError, match="cannot be made"):
        write_rectified([job], PINHOLE, (48, 64))


def test_cameras_that_differ_are_bent_each_in_its_own_way(tmp_path):
    """A pinhole of half the focal length shows the inner half, enlarged."""
    source = picture(tmp_path)
    k = np.array([[50, 0, 32], [0, 50, 24], [0, 0, 1.0]])
    wide = dataclasses.replace(PINHOLE, intrinsics=k)
    near = dataclasses.replace(
        PINHOLE, intrinsics=k * [[2, 1, 1], [1, 2, 1], [1, 1, 1]]
    )
    jobs = [Job(source, tmp_path / f"{n}.png", c) for n, c in enumerate((wide, near))]
    write_rectified(jobs, near, (48, 64))
    first, second = (read_image(job.target).astype(int) for job in jobs)
    np.testing.assert_array_equal(second, read_image(source))
    inner = Image.open(source).crop((16, 12, 48, 36)).resize((64, 48))
    assert np.abs(first - np.asarray(inner)).mean() < 3

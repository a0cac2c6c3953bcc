import numpy as np
import pytest

from egojax.data import arrays, stream_images
from egojax.data.stream_images import StreamImages
from egojax.errors import UsageError


def _images(seed: int = 0, streams: int = 3) -> StreamImages:
    rng = np.random.default_rng(seed)
    h, w = 3, 5
    parts = rng.uniform(0, 0.4, (streams, h, w, 3)).astype(np.float32)
    static_depth = rng.uniform(1, 9, (h, w)).astype(np.float32)
    static_depth[0, 0] = np.inf
    return StreamImages(
        rgb=parts.sum(0),
        parts=parts,
        masks=rng.uniform(0, 1.1, (streams, h, w)).astype(np.float32),
        depth=rng.uniform(1, 9, (h, w)).astype(np.float32),
        static_rgb=rng.uniform(0, 1, (h, w, 3)).astype(np.float32),
        static_depth=static_depth,
        uncertainty=rng.uniform(0.03, 1, (h, w)).astype(np.float32),
    )


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_what_is_written_is_read_to_half_precision(tmp_path, streams):
    images = _images(streams=streams)
    stream_images.write_images(tmp_path / "a.npz", images)
    found = stream_images.read_images(tmp_path / "a.npz")
    for name, value in images._asdict().items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-3, err_msg=name)


def test_what_is_scored_is_read_as_it_was(tmp_path):
    images = _images()
    far = images._replace(static_depth=images.static_depth + np.float32(1e5))
    stream_images.write_images(tmp_path / "a.npz", far)
    found = stream_images.read_images(tmp_path / "a.npz")
    for name in ("masks", "depth", "static_depth"):
        np.testing.assert_array_equal(getattr(found, name), getattr(far, name))


def test_what_is_dynamic_is_all_but_the_static_stream():
    images = _images()
    by_hand = images.masks[1] + images.masks[2]
    np.testing.assert_allclose(images.dynamic, by_hand, rtol=1e-6)
    assert (_images(streams=1).dynamic == 0).all()


def test_a_file_without_an_array_or_of_two_sizes_is_refused_in_one_line(tmp_path):
    good = _images()._asdict()
    arrays.write_npz(tmp_path / "a.npz", {k: good[k] for k in ("rgb", "parts")})
    with pytest.raises(UsageError, match=r"a\.npz: no array masks; no array depth"):
        stream_images.read_images(tmp_path / "a.npz")
    arrays.write_npz(tmp_path / "b.npz", {**good, "masks": good["masks"][:, 1:]})
    with pytest.raises(UsageError, match=r"masks is \(3, 2, 5\), rgb \(3, 5\)"):
        stream_images.read_images(tmp_path / "b.npz")

"""The 3D viewer: mesh, camera path, frames, object tracks, and a time slider."""

import time
from typing import Any

import numpy as np

from egojax.apps import scene
from egojax.apps.looks import Look, looks_of
from egojax.data import results
from egojax.data.runs import RunFolder
from egojax.errors import FrameError, UsageError
from egojax.task import Task
from egojax.types import Clip, TrackTable

NUM_FRUSTA = 16  # Of the path.
FRAME_WIDTH = 320  # Pixels of the current frame in the scene.


def main(task: Task, folder: RunFolder, host: str, port: int) -> int:
    """Opens the first clip of a run and serves it until it is stopped."""
    name = next(iter(task.clips))
    path = folder.path / "clips" / name / "tracks.npz"
    if not path.exists():
        raise UsageError(f"{path}: no tracks yet; run the same command without --mode")
    server = serve(task.clips[name](), results.read_table(path), host=host, port=port)
    print(f"viewer: http://{host}:{server.get_port()} (Ctrl-C ends it)")
    try:
        while True:
            time.sleep(1.0)
    finally:
        server.stop()


def serve(
    clip: Clip, table: TrackTable, *, port: int = 8080, host: str = "127.0.0.1"
) -> Any:
    """Starts the viewer and returns its server, which runs in the background.

    Args:
      clip: With cameras; mesh or points, and frames, are shown if it has them.
      table: The tracks.
      port: The next free one is taken if it is in use.
      host: 127.0.0.1 keeps it to this machine.

    Raises:
      UsageError: the extra `viz` is not installed, or the clip has no poses.
    """
    try:
        import viser
    except ImportError as err:
        raise UsageError(
            'the viewer needs the extra: pip install "egojax[viz]"'
        ) from err
    path = scene.read_camera_path(clip)
    if path is None:
        raise UsageError(f"{clip.name}: no camera poses, so there is nothing to view")
    server = viser.ViserServer(host=host, port=port, verbose=False)
    look = looks_of(table, clip.category_names).after
    up = scene.up_direction(path.c2w)
    server.scene.set_up_direction(up)
    layers = {"scene": _add_scene(server, clip), "camera path": _add_path(server, path)}
    objects, stage = _Objects(server, table, look), _Stage(server, clip, path)
    _add_controls(server, clip, objects, stage)
    for title, handle in layers.items():
        if handle is not None:
            _add_toggle(server, title, handle)
    _place_viewer(server, path, up)
    return server


def _add_scene(server: Any, clip: Clip) -> Any:
    """Returns the handle of the mesh or points, or None without both."""
    if clip.mesh is not None:
        import trimesh

        mesh = trimesh.Trimesh(
            clip.mesh.vertices * clip.metric_scale,
            clip.mesh.faces,
            vertex_colors=clip.mesh.colors,
            process=False,
        )
        return server.scene.add_mesh_trimesh("/scene", mesh)
    surface = scene.surface_points(clip)
    if surface is None:
        return None
    colors = (150, 150, 150) if surface.colors is None else surface.colors
    points = surface.points.astype(np.float32)
    return server.scene.add_point_cloud("/scene", points, colors, point_size=0.01)


def _add_path(server: Any, path: scene.CameraPath) -> Any:
    """Returns the handle of the whole path."""
    root = server.scene.add_frame("/camera", show_axes=False)
    line = np.stack([path.centers[:-1], path.centers[1:]], axis=1).astype(np.float32)
    if len(line):
        server.scene.add_line_segments("/camera/path", line, (40, 90, 200))
    for k in range(0, len(path.c2w), max(1, len(path.c2w) // NUM_FRUSTA)):
        wxyz, position = _pose(path.c2w[k])
        server.scene.add_camera_frustum(
            f"/camera/{k}",
            path.fov_y,
            16 / 9,
            scale=0.05,
            thickness=0.003,
            color=(40, 90, 200),
            wxyz=wxyz,
            position=position,
        )
    return root


def _pose(c2w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(c2w[:3, :3]).as_quat()
    return np.roll(turn, 1), c2w[:3, 3]


class _Objects:
    """Trails and names of the tracks; a mark where each was seen last."""

    def __init__(self, server: Any, table: TrackTable, look: Look):
        self._trails = scene.trails_of(table)
        self._marks = {}
        for i, trail in self._trails.items():
            color, at = look.color[i], trail.at.astype(np.float32)
            if len(at) > 1:
                line = np.stack([at[:-1], at[1:]], axis=1)
                server.scene.add_line_segments(f"/objects/{i}/trail", line, color)
            ball = server.scene.add_icosphere(f"/objects/{i}/mark", 0.025, color)
            name = look.name.get(i, str(i))
            label = server.scene.add_label(f"/objects/{i}/name", name)
            self._marks[i] = (ball, label)

    def show(self, t: int) -> None:
        """Puts every mark where its object was seen last before frame t."""
        for i, trail in self._trails.items():
            row = int(np.searchsorted(trail.frame_idx, t, side="right")) - 1
            for mark in self._marks[i]:
                mark.visible = row >= 0
                mark.position = tuple(trail.at[max(row, 0)])


class _Stage:
    """The camera of the current frame, with its picture."""

    def __init__(self, server: Any, clip: Clip, path: scene.CameraPath):
        self._server, self._clip, self._path = server, clip, path

    def show(self, t: int) -> None:
        k = int(
            np.clip(
                np.searchsorted(self._path.frame_idx, t), 0, len(self._path.c2w) - 1
            )
        )
        wxyz, position = _pose(self._path.c2w[k])
        height, width = self._clip.size_hw
        self._server.scene.add_camera_frustum(
            "/now",
            self._path.fov_y,
            width / height,
            scale=0.25,
            thickness=0.006,
            color=(220, 120, 20),
            image=self._picture(int(self._path.frame_idx[k])),
            wxyz=wxyz,
            position=position,
        )

    def _picture(self, t: int) -> np.ndarray | None:
        if self._clip.frames is None:
            return None
        try:
            frame = self._clip.frames[t]
        except FrameError:
            return None
        step = max(1, frame.shape[1] // FRAME_WIDTH)
        return frame[::step, ::step]


def _add_controls(server: Any, clip: Clip, objects: _Objects, stage: _Stage) -> None:
    server.gui.add_markdown(f"**{clip.name}**, {clip.num_frames} frames")
    last = clip.num_frames - 1
    slider = server.gui.add_slider("frame", 0, max(1, last), 1, max(1, last))

    def show(t: int) -> None:
        objects.show(t)
        stage.show(min(t, last))

    @slider.on_update
    def _(_: Any) -> None:
        show(int(slider.value))

    show(last)


def _add_toggle(server: Any, title: str, handle: Any) -> None:
    box = server.gui.add_checkbox(title, True)

    @box.on_update
    def _(_: Any) -> None:
        handle.visible = box.value


def _place_viewer(server: Any, path: scene.CameraPath, up: np.ndarray) -> None:
    """Starts a visitor behind and above the middle of the path."""
    middle = np.median(path.centers, axis=0)
    ahead = path.c2w[:, :3, 2].mean(0)
    reach = max(1.0, float(np.ptp(path.centers, axis=0).max()))

    @server.on_client_connect
    def _(client: Any) -> None:
        client.camera.position = middle + 1.2 * reach * up - 0.8 * reach * ahead
        client.camera.look_at = middle + 0.6 * ahead
        client.camera.up_direction = up

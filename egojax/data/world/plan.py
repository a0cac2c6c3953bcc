"""A script while it is planned, and the search for free places in it (host)."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from egojax.data.world.objects import Model
from egojax.data.world.room import DRAWER_TRAVEL, Room, Surface

MAX_LEAN = 0.3  # Metres that the head may pass the edge of the free floor.
PULL = np.array([0.0, -DRAWER_TRAVEL, 0.0])  # Of the drawer, when open.
Groups = Sequence[Sequence[int]]


class Visit(NamedTuple):
    """The wearer stands at a station from frame `start` to `stop`."""

    station: int
    start: int
    stop: int


class Event(NamedTuple):
    """The hand holds something: reach, hold, let go, retreat, by frame."""

    obj: int  # Index of the object; -1 = the drawer's handle.
    times: tuple[int, int, int, int]  # Reach begins, grasp, release, hand gone.


class Conflict(Exception):
    """No free place was found; plan again."""


@dataclasses.dataclass
class Plan:
    """A script while it is planned; positions are always filled to the end."""

    rng: np.random.Generator
    room: Room
    models: Sequence[Model]
    fps: float
    positions: np.ndarray  # (T, K, 3)
    yaw: np.ndarray  # (T, K)
    moving: np.ndarray  # bool (T, K)
    inside: np.ndarray  # bool (T, K), rides in the drawer.
    opened: np.ndarray  # (T,), 0 = drawer closed, 1 = open.
    station_of: list[int]
    events: list[Event]
    hold: np.ndarray  # (T, 3), where the wearer carries things.
    stand: np.ndarray  # (T, 2), where the wearer stands.
    arm: float  # How far from there he can reach, metres.
    handled: Collection[int]  # Objects that the hand may take.

    def frames(self, seconds: float) -> int:
        return max(1, round(seconds * self.fps))


def start_plan(
    rng: np.random.Generator,
    room: Room,
    models: Sequence[Model],
    stations: Sequence[int],
    clusters: Groups,
    num_frames: int,
    fps: float,
) -> Plan:
    count = len(models)
    plan = Plan(
        rng=rng,
        room=room,
        models=models,
        fps=fps,
        positions=np.full((num_frames, count, 3), np.inf),
        yaw=np.tile(rng.uniform(-np.pi, np.pi, count), (num_frames, 1)),
        moving=np.zeros((num_frames, count), bool),
        inside=np.zeros((num_frames, count), bool),
        opened=np.zeros(num_frames),
        station_of=list(stations),
        events=[],
        hold=np.zeros((num_frames, 3)),
        stand=np.zeros((num_frames, 2)),
        arm=0.6 + MAX_LEAN,
        handled=range(count),
    )
    for group in clusters:
        _place_cluster(plan, group)
    rest = [k for k in range(count) if not np.isfinite(plan.positions[0, k, 0])]
    for k in sorted(rest, key=lambda k: -models[k].radius):  # The large ones first.
        if clusters:
            plan.positions[:, k] = _must_place(plan, k)
        else:
            _place_anywhere(plan, k)
    return plan


def _place_cluster(plan: Plan, group: Sequence[int]) -> None:
    """The members within 0.4 m of each other, in a circle of 0.2 m."""
    for _ in range(60):
        first = _must_place(plan, group[0])
        center = first + np.append(plan.rng.uniform(-0.1, 0.1, 2), 0.0)
        spots = [first]
        plan.positions[:, group[0]] = first
        for k in group[1:]:
            spot = free_place(
                plan,
                0,
                k,
                plan.station_of[k],
                near=(center, 0.19),
                tries=40,
            )
            if spot is None:
                break
            plan.positions[:, k] = spot
            spots.append(spot)
        if len(spots) == len(group) and np.linalg.norm(first - center) < 0.19:
            return
        plan.positions[:, list(group)] = np.inf
    raise Conflict


def free_place(
    plan: Plan,
    t: int,
    k: int,
    station: int,
    *,
    near: tuple[np.ndarray, float] | None = None,
    tries: int = 300,
) -> np.ndarray | None:
    """A spot at a station where object k stands free at frame t."""
    model = plan.models[k]
    height = float(model.shape.extent[1, 2])
    fits = [
        s
        for s in plan.room.surfaces
        if s.station == station
        and height < s.clear
        and 2 * model.radius < min(_size(s)) + 0.12
    ]
    if not fits:
        return None
    share = np.array([np.prod(_size(s)) for s in fits])
    for _ in range(tries):
        surface = fits[int(plan.rng.choice(len(fits), p=share / share.sum()))]
        spot = spot_on(plan.rng, surface, model.radius)
        if near is not None and np.linalg.norm(spot - near[0]) > near[1]:
            continue
        if _is_free(plan, t, k, spot):
            return spot
    return None


def _place_anywhere(plan: Plan, k: int) -> None:
    """Places object k at its station, or at another one where there is room."""
    count = len(plan.room.stations)
    for shift in range(count):
        station = (plan.station_of[k] + shift) % count
        spot = free_place(plan, 0, k, station, tries=150)
        if spot is not None:
            plan.positions[:, k], plan.station_of[k] = spot, station
            return
    raise Conflict


def _must_place(plan: Plan, k: int) -> np.ndarray:
    """A free spot for object k at its station in the first frame, or Conflict."""
    spot = free_place(plan, 0, k, plan.station_of[k])
    if spot is None:
        raise Conflict
    return spot


def _size(surface: Surface) -> np.ndarray:
    return np.subtract(surface.high, surface.low)


def spot_on(rng: np.random.Generator, surface: Surface, radius: float) -> np.ndarray:
    """A random place whose circle lies on the surface (or as nearly as it can)."""
    low, high = np.asarray(surface.low), np.asarray(surface.high)
    inset = np.minimum(radius - 0.03, 0.5 * (high - low))
    return np.array([*rng.uniform(low + inset, high - inset), surface.z + 5e-4])


def _is_free(plan: Plan, t: int, k: int, spot: np.ndarray) -> bool:
    """No other object's circle reaches here, now or where it will be put later."""
    radii = np.array([m.radius for m in plan.models]) + plan.models[k].radius + 0.008
    for at in (t, len(plan.positions) - 1):
        other = plan.positions[at]
        near = np.hypot(*(other[:, :2] - spot[:2]).T) < radii
        near &= np.abs(other[:, 2] - spot[2]) < 0.17
        near[k] = False
        if near.any():
            return False
    return True


def ease(step: np.ndarray, count: int) -> np.ndarray:
    """Minimum-jerk progress from 0 to 1."""
    s = np.clip((step + 1) / max(count, 1), 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s * s)

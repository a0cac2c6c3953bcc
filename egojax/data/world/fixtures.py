"""Clutter that belongs to the room: it never moves and has no label (host, NumPy)."""

import dataclasses

import numpy as np

from egojax.data.world import shapes
from egojax.data.world.objects import BLACK, GLAZES, PINE, STEEL
from egojax.data.world.shapes import Material, Shape

WHITE = Material("plain", (0.7, 0.7, 0.68), (0.5, 0.5, 0.48), 0.4, 0.3)
LEAF = Material("stone", (0.06, 0.2, 0.04), (0.14, 0.3, 0.06), 0.3, 0.08)


def _colour(
    rng: np.random.Generator, kind: str, scale: float, gloss: float = 0.3
) -> Material:
    a, b = (GLAZES[k] for k in rng.choice(len(GLAZES), 2, replace=False))
    return Material(kind, a, b, gloss, scale)


def toaster(rng: np.random.Generator) -> Shape:
    """Two slots, a lever, round edges."""
    shell = (
        dataclasses.replace(STEEL, b=(0.1, 0.1, 0.11)) if rng.random() < 0.6 else WHITE
    )
    body = shapes.extrude(shapes.rounded(0.28, 0.16, 0.04, 5), 0.18, shell, 0.02)
    slots = [
        shapes.box((-0.1, y - 0.014, 0.17), (0.1, y + 0.014, 0.1815), BLACK)
        for y in (-0.03, 0.03)
    ]
    lever = shapes.box((0.14, -0.02, 0.1), (0.165, 0.02, 0.12), BLACK)
    foot = shapes.box((-0.12, -0.06, 0.0), (0.12, 0.06, 0.01), BLACK)
    return shapes.compose([body.moved((0, 0, 0.008)), *slots, lever, foot])


def utensils(rng: np.random.Generator) -> Shape:
    """A pot of spoons, spatulas and a whisk."""
    r, h = 0.055, 0.15
    profile = [(r, 0.0), (r, h), (r - 0.005, h), (r - 0.005, 0.02)]
    parts = [shapes.lathe(profile, _colour(rng, "stripes", 0.2), 20)]
    for k in range(6):
        lean = rng.uniform(-0.3, 0.3, 2)
        top = np.array([0.03 * np.cos(k), 0.03 * np.sin(k), 0.02]) + np.array(
            [*(lean * 0.25), rng.uniform(0.24, 0.33)]
        )
        stuff = (PINE, STEEL, BLACK)[k % 3]
        foot = np.array([0.02 * np.cos(k), 0.02 * np.sin(k), 0.02])
        parts.append(
            shapes.tube(np.stack([foot, (foot + top) / 2, top]), 0.0045, stuff, 6)
        )
        head = shapes.extrude(shapes.rounded(0.05, 0.07, 0.02), 0.008, stuff, 0.002)
        turn = shapes.rotation((0, 0, 1), float(rng.uniform(0, 3))) @ shapes.rotation(
            (1, 0, 0), np.pi / 2
        )
        parts.append(head.moved(top + np.array([0, 0, 0.02]), turn))
    return shapes.compose(parts)


def rack(rng: np.random.Generator) -> Shape:
    """A dish rack of wire with plates on edge."""
    parts = []
    for y in np.linspace(-0.12, 0.12, 9):
        arc = np.array(
            [[-0.16, y, 0.1], [-0.15, y, 0.015], [0.15, y, 0.015], [0.16, y, 0.1]]
        )
        parts.append(shapes.tube(arc, 0.0025, STEEL, 5))
    for x, z in ((-0.16, 0.1), (0.16, 0.1), (0.0, 0.012)):
        parts.append(
            shapes.tube(
                np.array([[x, -0.13, z], [x, 0.0, z], [x, 0.13, z]]), 0.003, STEEL, 5
            )
        )
    for k in range(4):
        r = rng.uniform(0.09, 0.115)
        profile = [(0.55 * r, 0.0), (r, 0.016), (r - 0.002, 0.019), (0.6 * r, 0.005)]
        plate = shapes.lathe(profile, _colour(rng, "stripes", 0.1), 24)
        lean = shapes.rotation((0, 1, 0), np.pi / 2 - 0.2)
        parts.append(plate.moved((-0.1 + 0.06 * k, 0.02, r + 0.015), lean))
    return shapes.compose(parts)


def soap(rng: np.random.Generator) -> Shape:
    """A pump bottle."""
    liquid = _colour(rng, "plain", 0.2, 0.8)
    body = shapes.lathe(
        [(0.032, 0.0), (0.034, 0.02), (0.033, 0.11), (0.014, 0.135)], liquid, 18
    )
    neck = shapes.lathe(
        [(0.012, 0.13), (0.012, 0.15), (0.005, 0.152), (0.005, 0.17)], WHITE, 10
    )
    spout = shapes.tube(
        np.array([[0, 0, 0.17], [0.02, 0, 0.175], [0.045, 0, 0.165]]), 0.005, WHITE, 6
    )
    return shapes.compose([body, neck, spout])


def plant(rng: np.random.Generator) -> Shape:
    """A pot with arching leaves."""
    profile = [(0.05, 0.0), (0.068, 0.11), (0.062, 0.11), (0.06, 0.09)]
    parts = [shapes.lathe(profile, _colour(rng, "dots", 0.1), 20)]
    for _ in range(16):
        yaw, length, rise = (
            rng.uniform(0, 2 * np.pi),
            rng.uniform(0.1, 0.2),
            rng.uniform(0.5, 1.3),
        )
        s = np.linspace(0.0, 1.0, 6)
        out, up = length * s, length * (rise * s * 1.6 - 1.1 * s**2)
        wide = 0.02 * np.sin(np.pi * np.clip(s * 0.9 + 0.1, 0, 1))
        ahead, side = (
            np.array([np.cos(yaw), np.sin(yaw), 0]),
            np.array([-np.sin(yaw), np.cos(yaw), 0]),
        )
        spine = out[:, None] * ahead + up[:, None] * [0, 0, 1] + [0, 0, 0.1]
        edge = wide[:, None] * side
        grid = np.stack([spine - edge, spine - [0, 0, 0.004], spine + edge], 1)
        parts += [shapes.sheet(grid, LEAF), shapes.sheet(grid[:, ::-1], LEAF)]
    return shapes.compose(parts)


def books(rng: np.random.Generator) -> Shape:
    """A row of cookbooks, the last one leaning."""
    parts, x = [], 0.0
    for _ in range(6):
        thick, height, deep = (
            rng.uniform(0.015, 0.04),
            rng.uniform(0.2, 0.27),
            rng.uniform(0.15, 0.18),
        )
        cover = _colour(rng, "print", 0.25)
        parts.append(
            shapes.box((x, -deep / 2, 0), (x + thick, deep / 2, height), cover)
        )
        x += thick + 0.002
    lean = shapes.rotation((0, 1, 0), -0.25)
    last = shapes.box((0, -0.08, 0), (0.025, 0.08, 0.22), _colour(rng, "print", 0.25))
    return shapes.compose([*parts, last.moved((x + 0.055, 0, 0.002), lean)])


def paper_roll(rng: np.random.Generator) -> Shape:
    """Kitchen paper on a stand."""
    wood = shapes.lathe([(0.075, 0.0), (0.075, 0.015), (0.01, 0.018)], PINE, 20)
    rod = shapes.lathe([(0.008, 0.01), (0.008, 0.31), (0.014, 0.32)], PINE, 8)
    paper = dataclasses.replace(
        WHITE, kind="dots", a=(0.8, 0.8, 0.78), b=(0.7, 0.72, 0.75), scale=0.1
    )
    r = rng.uniform(0.05, 0.065)
    return shapes.compose(
        [wood, rod, shapes.lathe([(r, 0.02), (r, 0.25), (0.02, 0.251)], paper, 22)]
    )


def knife_block() -> Shape:
    """A slanted block with handles."""
    lean = shapes.rotation((0, 1, 0), -0.45)
    parts = [
        shapes.box((-0.05, -0.055, 0.0), (0.05, 0.055, 0.2), PINE).moved(
            (0.03, 0, 0.02), lean
        )
    ]
    for x, y in (
        (-0.025, -0.03),
        (0.02, -0.03),
        (-0.025, 0.005),
        (0.02, 0.005),
        (-0.025, 0.035),
    ):
        handle = shapes.box(
            (x - 0.008, y - 0.01, 0.2), (x + 0.008, y + 0.01, 0.29), BLACK
        )
        parts.append(handle.moved((0.03, 0, 0.02), lean))
    return shapes.compose(
        [*parts, shapes.box((-0.03, -0.05, 0.0), (0.09, 0.05, 0.03), PINE)]
    )


def rail(rng: np.random.Generator, width: float) -> Shape:
    """A rail on the wall with ladles and a cloth hanging from it, facing -y."""
    ends = np.array([[0.0, -0.03, 0.0], [width / 2, -0.03, 0.0], [width, -0.03, 0.0]])
    parts = [shapes.tube(ends, 0.006, STEEL, 7)]
    for x in np.arange(0.06, width - 0.05, 0.11):
        stuff, long = (STEEL, BLACK, PINE)[rng.integers(3)], rng.uniform(0.14, 0.2)
        stem = np.array([[x, -0.035, 0.01], [x, -0.035, -long / 2], [x, -0.03, -long]])
        parts.append(shapes.tube(stem, 0.004, stuff, 6))
        head = shapes.extrude(shapes.rounded(0.06, 0.07, 0.025), 0.006, stuff, 0.002)
        parts.append(
            head.moved((x, -0.027, -long - 0.02), shapes.rotation((1, 0, 0), np.pi / 2))
        )
    return shapes.compose(parts)


def towel(rng: np.random.Generator) -> Shape:
    """A cloth that hangs over a bar along x at the origin, in front of it (-y)."""
    x, z = np.meshgrid(np.linspace(-0.12, 0.12, 13), np.linspace(-0.36, 0.0, 12))
    fold = 0.008 * np.sin(52 * x + 2.0 * z + rng.uniform(0, 6)) * (0.3 - z * 2)
    front = np.stack([x * (1 + 0.1 * z), -0.014 + fold, z], -1)
    back = front + np.array([0, 0.006, 0])
    weave = _colour(rng, "plaid", 0.12, 0.02)
    return shapes.compose(
        [shapes.sheet(front, weave), shapes.sheet(back[:, ::-1], weave)]
    )


def socket() -> Shape:
    """A double wall socket, facing -y."""
    plate = shapes.box((-0.075, -0.012, -0.045), (0.075, 0.0, 0.045), WHITE)
    holes = [
        shapes.box(
            (x - 0.022, -0.0135, -0.022),
            (x + 0.022, -0.012, 0.022),
            dataclasses.replace(WHITE, a=(0.5, 0.5, 0.48)),
        )
        for x in (-0.036, 0.036)
    ]
    return shapes.compose([plate, *holes])


def mat(rng: np.random.Generator) -> Shape:
    """A thin place mat or newspaper."""
    cover = _colour(rng, str(rng.choice(["print", "plaid"])), 0.3, 0.03)
    turn = shapes.rotation((0, 0, 1), float(rng.uniform(-0.3, 0.3)))
    return shapes.extrude(shapes.rounded(0.3, 0.4, 0.01), 0.002, cover).moved(
        (0, 0, 0), turn
    )

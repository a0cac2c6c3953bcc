"""The published network, loss and optimiser in plain PyTorch: the bench's reference.

    PYTHON neuraldiff_torch.py WEIGHTS.npz RAYS.npz

It imports nothing of egojax. It reads requests from its standard input, one JSON object
a line, and answers each with one: {"check": n} renders the first n rays at evenly
spaced positions and gives the loss with its gradients' norms; {"steps": n, "rays": r}
takes n training steps of r rays and gives the processor seconds of each.
"""

import json
import sys
import time
from typing import Any, NamedTuple

import numpy as np
import torch  # pyrefly: ignore
from torch import nn  # pyrefly: ignore

NUM_COARSE, NUM_FINE = 64, 64
LAST_DELTA = WALL = 100.0
BETA_MIN = 0.03


class Rays(NamedTuple):
    """(R, ...): both directions have unit length; `colors` are what is learned."""

    ray_origins: torch.Tensor
    ray_dirs: torch.Tensor
    camera_dirs: torch.Tensor
    near: torch.Tensor
    far: torch.Tensor
    slots: torch.Tensor
    looks: torch.Tensor
    colors: torch.Tensor


# ---------------------------------------------------------------------- network


def encode(x: torch.Tensor, num_bands: int) -> torch.Tensor:
    """x, then sine and cosine of every band."""
    angles = x[..., None, :] * 2.0 ** torch.arange(num_bands)[:, None]
    waves = torch.stack([angles.sin(), angles.cos()], -2)
    return torch.cat([x, waves.flatten(-3)], -1)


def layer(din: int, dout: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(din, dout), nn.ReLU(inplace=True))


class Field(nn.Module):
    """One network: the static stream, and in the fine one those that change."""

    def __init__(self, width: int, appearance: int, time: int):
        super().__init__()
        half = width // 2
        for i in range(8):
            din = (63 if i == 0 else width) + (63 if i == 4 else 0)
            setattr(self, f"xyz_encoding_{i + 1}", layer(din, width))
        self.xyz_encoding_final = nn.Linear(width, width)
        self.dir_encoding = layer(width + 27 + appearance, half)
        self.static_sigma = nn.Sequential(nn.Linear(width, 1), nn.Softplus())
        self.static_rgb = nn.Sequential(nn.Linear(half, 3), nn.Sigmoid())
        for name, din in (("transient", width), ("person", 63)) if time else ():
            layers = [layer(din + time, half), *(layer(half, half) for _ in range(3))]
            setattr(
                self, f"{name}_encoding", nn.Sequential(*(m for s in layers for m in s))
            )
            for head, dout in (("sigma", 1), ("rgb", 3), ("beta", 1)):
                last = nn.Sigmoid() if head == "rgb" else nn.Softplus()
                setattr(
                    self, f"{name}_{head}", nn.Sequential(nn.Linear(half, dout), last)
                )

    def static(self, points: torch.Tensor, per_ray: torch.Tensor) -> tuple[Any, ...]:
        """Feature, density and colour of samples (R, S, 3)."""
        encoded = encode(points, 10)
        x = encoded
        for i in range(8):
            x = torch.cat([encoded, x], -1) if i == 4 else x
            x = getattr(self, f"xyz_encoding_{i + 1}")(x)
        feature = self.xyz_encoding_final(x)
        color = self.dir_encoding(torch.cat([feature, spread(per_ray, x)], -1))
        return feature, self.static_sigma(x)[..., 0], self.static_rgb(color)

    def changing(self, name: str, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Density, colour and uncertainty."""
        x = getattr(self, f"{name}_encoding")(x)
        sigma, rgb, beta = (
            getattr(self, f"{name}_{h}")(x) for h in ("sigma", "rgb", "beta")
        )
        return sigma[..., 0], rgb, beta[..., 0]


def spread(per_ray: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return per_ray[:, None].expand(-1, like.shape[1], -1)


class TimeCode(nn.Module):
    def __init__(self, num_slots: int, basis: int, dim: int):
        super().__init__()
        self.W = nn.Parameter(torch.zeros(basis, dim))
        self.num_slots = num_slots

    def forward(self, slots: torch.Tensor) -> torch.Tensor:
        time = 2 * (slots / (self.num_slots - 1) - 0.5)
        return encode(time[:, None], len(self.W) // 2) @ self.W


class NeuralDiff(nn.Module):
    """Both networks and the codes, with the names of published checkpoints."""

    def __init__(self, state: dict[str, torch.Tensor]):
        super().__init__()
        width = len(state["nerf_fine.xyz_encoding_1.0.weight"])
        self.embedding_a = nn.Embedding(*state["embedding_a.weight"].shape)
        slots, dim = state["embedding_a.weight"].shape
        basis, time = state["embedding_t.W"].shape
        self.embedding_t = TimeCode(slots, basis, time)
        self.nerf_coarse = Field(width, 0, 0)
        self.nerf_fine = Field(width, dim, time)
        self.load_state_dict(state)


# --------------------------------------------------------------------- rendering


def transmittance(alpha: torch.Tensor) -> torch.Tensor:
    passed = torch.cumprod(1 - alpha[:, :-1], -1)
    return torch.cat([torch.ones_like(alpha[:, :1]), passed], -1)


def deltas(z: torch.Tensor) -> torch.Tensor:
    return torch.cat([z[:, 1:] - z[:, :-1], torch.full_like(z[:, :1], LAST_DELTA)], -1)


def sample_pdf(
    bins: torch.Tensor, weights: torch.Tensor, u: torch.Tensor
) -> torch.Tensor:
    p = (weights + 1e-5) / (weights + 1e-5).sum(-1, keepdim=True)
    cdf = torch.cat([torch.zeros_like(p[:, :1]), p.cumsum(-1)], -1)
    idx = torch.searchsorted(cdf, u, right=True)
    low, high = (idx - 1).clamp(min=0), idx.clamp(max=weights.shape[1])
    start, mass = cdf.gather(1, low), cdf.gather(1, high) - cdf.gather(1, low)
    share = (u - start) / torch.where(mass < 1e-5, 1.0, mass)
    first = bins.gather(1, low)
    return first + share * (bins.gather(1, high) - first)


def loss_of(model: NeuralDiff, rays: Rays, noisy: bool) -> torch.Tensor:
    """The training loss of rays; evenly spaced, without noise, unless `noisy`."""
    num = len(rays.near)
    share = torch.linspace(0, 1, NUM_COARSE)
    z = rays.near[:, None] * (1 - share) + rays.far[:, None] * share
    u = torch.linspace(0, 1, NUM_FINE).expand(num, -1).contiguous()
    noise, wall = torch.zeros_like(z), torch.full((num, 3), 0.5)
    if noisy:
        mids = 0.5 * (z[:, 1:] + z[:, :-1])
        lower, upper = torch.cat([z[:, :1], mids], -1), torch.cat([mids, z[:, -1:]], -1)
        z = lower + (upper - lower) * torch.rand_like(z)
        u, noise, wall = torch.rand_like(u), torch.randn_like(z), torch.rand_like(wall)
    direction = encode(rays.ray_dirs, 4)
    points = rays.ray_origins[:, None] + z[..., None] * rays.ray_dirs[:, None]
    _, density, rgb = model.nerf_coarse.static(points, direction)
    alpha = 1 - torch.exp(-deltas(z) * torch.relu(density + noise))
    weights = transmittance(alpha) * alpha
    coarse = (weights[..., None] * rgb).sum(1)
    with torch.no_grad():
        new = sample_pdf(0.5 * (z[:, 1:] + z[:, :-1]), weights[:, 1:-1], u)
        z = torch.cat([z, new], -1).sort(-1).values
    fine, beta, regular = fine_pass(model, rays, z, direction, wall)
    squared = (fine - rays.colors) ** 2 / (2 * beta[:, None] ** 2)
    coarse_term = 0.5 * ((coarse - rays.colors) ** 2).mean()
    return coarse_term + squared.mean() + beta.log().mean() + regular


def fine_pass(
    model: NeuralDiff,
    rays: Rays,
    z: torch.Tensor,
    direction: torch.Tensor,
    wall: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Colour, uncertainty and the density regulariser of three streams."""
    net, delta = model.nerf_fine, deltas(z)
    points = rays.ray_origins[:, None] + z[..., None] * rays.ray_dirs[:, None]
    per_ray = torch.cat([direction, model.embedding_a(rays.looks)], -1)
    feature, density, rgb = net.static(points, per_ray)
    code = spread(model.embedding_t(rays.slots), z)
    local = encode(z[..., None] * rays.camera_dirs[:, None], 10)
    moving = net.changing("transient", torch.cat([feature, code], -1))
    actor = net.changing("person", torch.cat([local, code], -1))
    regular = 0.01 * moving[0].mean() + 0.01 * actor[0].mean()
    density = torch.cat([density[:, :-1], torch.full_like(density[:, :1], WALL)], 1)
    rgb = torch.cat([rgb[:, :-1], wall[:, None]], 1)
    total = density + moving[0] + actor[0]
    alpha = 1 - torch.exp(-delta * total)
    before = transmittance(alpha)
    weights = []
    for sigma in (density, moving[0], actor[0]):
        last = 1 - torch.exp(-delta[:, -1:] * sigma[:, -1:])
        own = torch.cat([(sigma / total * alpha)[:, :-1], last], 1)
        weights.append((before * own)[..., None])
    color = sum(
        (w * c).sum(1) for w, c in zip(weights, (rgb, moving[1], actor[1]), strict=True)
    )
    beta = sum(
        (w[..., 0] * b).sum(1)
        for w, b in zip(weights[1:], (moving[2], actor[2]), strict=True)
    )
    return color, beta + BETA_MIN, regular


# ------------------------------------------------------------------------- bench


def check(model: NeuralDiff, rays: Rays) -> dict[str, Any]:
    """The loss of all rays, and the norms of its gradients."""
    loss = loss_of(model, rays, noisy=False)
    loss.backward()
    norms = {name: float(p.grad.norm()) for name, p in model.named_parameters()}
    model.zero_grad()
    return {"loss": float(loss.detach()), "norms": norms}


def steps(model: NeuralDiff, adam: Any, rays: Rays, num: int, size: int) -> list[float]:
    """Processor seconds of steps, each of `size` rays drawn anew."""
    out = []
    for _ in range(num):
        start = time.process_time()
        picked = torch.randint(len(rays.near), (size,))
        loss = loss_of(model, Rays(*(x[picked] for x in rays)), noisy=True)
        adam.zero_grad()
        loss.backward()
        adam.step()
        out.append(time.process_time() - start)
    return out


def main(weights: str, rays_file: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    state = {k: torch.from_numpy(v) for k, v in np.load(weights).items()}
    model = NeuralDiff(state)
    adam = torch.optim.Adam(model.parameters(), lr=5e-4)
    found = np.load(rays_file)
    rays = Rays(*(torch.from_numpy(found[name]) for name in Rays._fields))
    for line in sys.stdin:
        asked = json.loads(line)
        if "check" in asked:
            answer = check(model, Rays(*(x[: asked["check"]] for x in rays)))
        else:
            answer = {
                "seconds": steps(model, adam, rays, asked["steps"], asked["rays"])
            }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

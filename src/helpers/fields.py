"""Fields to paint with: noise, cells, outlines, spots, strokes. Behind dermoscopy.py (01).

A field is H×W float32. Everything is drawn from a generator that the caller passes, so
that the same seed gives the same picture. `pixels` are those of the canvas.
"""

from functools import lru_cache

import cv2
import numpy as np


def noise(rng, shape, cell: float) -> np.ndarray:
    """Smooth noise of about unit spread whose features are `cell` pixels wide."""
    h, w = shape
    grid = rng.standard_normal((int(h / cell) + 4, int(w / cell) + 4), dtype=np.float32)
    return cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)


def clouds(rng, shape, cell: float) -> np.ndarray:
    """Three octaves of noise: the mottling of skin and pigment."""
    octaves = (noise(rng, shape, cell / 2**k) * 0.5**k for k in range(3))
    return sum(octaves, np.zeros(shape, np.float32))


def ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth in between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@lru_cache
def _cells(jitter: float) -> tuple[np.ndarray, np.ndarray]:
    """A tile of cells 16 pixels wide: distance to the cell's seed, and to its border."""
    n, spacing = 40, 16
    rng = np.random.default_rng(int(jitter * 100))
    seeds = np.stack(np.mgrid[0:n, 0:n], -1).astype(np.float32)
    seeds[::2, :, 1] += 0.5  # rows set off against each other: a honeycomb
    seeds += jitter * (rng.random(seeds.shape, dtype=np.float32) - 0.5)
    y, x = np.mgrid[0 : n * spacing, 0 : n * spacing].astype(np.float32) / spacing
    row, col = y.astype(int), x.astype(int)
    first = np.full(y.shape, 9, np.float32)
    second = first.copy()
    for i in (-1, 0, 1, 2):
        for j in (-2, -1, 0, 1, 2):
            s = seeds[(row + i) % n, (col + j) % n]
            dy = y - s[..., 0] + n * np.round((s[..., 0] - y) / n)
            dx = x - s[..., 1] + n * np.round((s[..., 1] - x) / n)
            away = np.hypot(dy, dx)
            second = np.minimum(second, np.maximum(first, away))
            first = np.minimum(first, away)
    return first, second - first


def cells(rng, shape, jitter: float, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Cells `spacing` pixels wide, turned and shifted by chance (seed, border)."""
    h, w = shape
    angle, zoom = rng.uniform(0, 2 * np.pi), 16 / spacing
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    wobble = np.float32(0.35 * spacing)  # nothing grows on a ruled grid
    x += wobble * noise(rng, shape, 3 * spacing)
    y += wobble * noise(rng, shape, 3 * spacing)
    cos, sin = np.float32(zoom * np.cos(angle)), np.float32(zoom * np.sin(angle))
    du, dv = rng.integers(0, 640, 2).astype(np.float32)
    u, v = cos * x - sin * y + du, sin * x + cos * y + dv
    wrap, linear = cv2.BORDER_WRAP, cv2.INTER_LINEAR
    return tuple(cv2.remap(t, u, v, linear, borderMode=wrap) for t in _cells(jitter))


def outline(rng, shape, centre, radius, a) -> np.ndarray:
    """Signed distance (pixels, positive inside) to a lesion's border."""
    theta = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    r = np.ones_like(theta)
    for k in range(2, 14):
        size = a["lopsided"] * 0.30 / k if k < 4 else a["irregularity"] * 0.34 / k
        r += size * rng.normal() * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    squeeze, tilt = np.sqrt(a["elongation"]), rng.uniform(0, np.pi)
    x, y = r * np.cos(theta) * squeeze, r * np.sin(theta) / squeeze
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    points = (turn @ np.stack([x, y]) * radius).T + centre
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1, shift=4)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    return inside - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)


def discs(shape, points, radii, soften=0.5) -> np.ndarray:
    """Round spots, antialiased."""
    field = np.zeros(shape, np.uint8)
    for (x, y), r in zip(points, radii, strict=True):
        at = (int(x * 16), int(y * 16))
        cv2.circle(field, at, max(int(r * 16), 8), 255, -1, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(field, (0, 0), soften).astype(np.float32) / 255


def strokes(shape, lines, widths) -> np.ndarray:
    """Curved lines of sub-pixel width: drawn at double size, then reduced."""
    h, w = shape
    field = np.zeros((2 * h, 2 * w), np.uint8)
    for line, width in zip(lines, widths, strict=True):
        points = np.round(np.asarray(line) * 32).astype(np.int32)
        thick = max(round(2 * width), 1)
        cv2.polylines(field, [points], False, 255, thick, cv2.LINE_AA, shift=4)
    return cv2.resize(field, (w, h), interpolation=cv2.INTER_AREA) / np.float32(255)


def scatter(rng, region, n: int) -> np.ndarray:
    """n points (x, y) drawn from a region; none where the region is empty."""
    rows, cols = np.nonzero(region)
    pick = rng.integers(0, len(rows), n if len(rows) else 0)
    return np.stack([cols[pick], rows[pick]], 1) + rng.random((len(pick), 2))


def patch(rng, lesion, share: float, cell: float, towards=None) -> np.ndarray:
    """A soft blotch that covers about `share` of the lesion, off-centre by chance."""
    field = noise(rng, lesion.shape, cell)
    if towards is not None:
        field = field * 0.5 + towards
    inside = field[lesion]
    if inside.size == 0:
        return np.zeros(lesion.shape, np.float32)
    low, high = np.quantile(inside, (1 - 1.6 * share, 1 - 0.3 * share))
    return ramp(field, low, high + 1e-6)

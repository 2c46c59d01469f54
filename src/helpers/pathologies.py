"""The fourteen findings of ChestX-ray14, as they are painted on a chest (07).

Each takes a `radiograph.Chest` and adds what it looks like, with a mask for each part: a
nodule is a part, and each of two lungs full of water is one.
"""

import cv2
import numpy as np

from .fields import cells, clouds, noise, ramp, scatter


def effusion(chest) -> None:
    """Water in the pleura: it fills the angle of the lung and climbs the wall."""
    rng, lung = chest.rng, one_lung(chest)
    rows = np.nonzero(lung.any(1))[0] / chest.size
    level = rows[-1] - rng.uniform(0.10, 0.30) * (rows[-1] - rows[0])
    away = np.abs(chest.x - chest.spine) / 0.36
    surface = level + 0.06 - 0.13 * away**2
    mask = lung & (chest.y > surface)
    wet = ramp(chest.y - surface, -0.01, 0.05) * chest.soft(lung, 0.006)
    chest.vessels *= 1 - wet
    chest.add("Effusion", mask, 0.46 * wet)


def cardiomegaly(chest) -> None:
    """A heart wider than half the chest; painted with the anatomy."""
    chest.add("Cardiomegaly", chest.heart, 0)


def opacity(
    chest, name: str, radius, strength: float, ragged: float, low=0.2, high=0.8
):
    """A patch of lung that holds something else than air; returns where, and how much."""
    rng, lung = chest.rng, one_lung(chest)
    rows = np.nonzero(lung.any(1))[0] / chest.size
    zone = (chest.y > rows[0] + low * np.ptp(rows)) & (
        chest.y < rows[0] + high * np.ptp(rows)
    )
    (spot,) = scatter(rng, lung & zone, 1) / chest.size
    size = rng.uniform(*radius)
    deep = chest.ellipse(*spot, size, size * rng.uniform(0.8, 1.5), rng.uniform(0, 3))
    deep = deep + ragged * clouds(rng, chest.shape, 0.11 * chest.size)
    inside = chest.soft(lung, 0.006)
    field = ramp(deep, -0.15, 0.45) * inside
    mask = lung & (deep > 0.12) & (chest.ellipse(*spot, 2.2 * size, 2.2 * size) > 0)
    field *= ramp(chest.ellipse(*spot, 2.4 * size, 2.4 * size), 0, 0.25)
    chest.add(name, mask, strength * field)
    return field


def consolidation(chest) -> None:
    """Air replaced: dense, even, and no vessel is seen in it."""
    field = opacity(chest, "Consolidation", (0.08, 0.12), 0.34, 0.16)
    chest.vessels *= 1 - 0.9 * field


def pneumonia(chest) -> None:
    """A patchy consolidation, mostly low, in which the bronchi stay dark."""
    field = opacity(chest, "Pneumonia", (0.08, 0.12), 0.27, 0.30, 0.5, 0.9)
    spots = ramp(noise(chest.rng, chest.shape, 0.018 * chest.size), 0.2, 1.0)
    chest.density -= 0.22 * field * spots
    chest.vessels *= 1 - 0.8 * field


def infiltration(chest) -> None:
    """A faint, streaky haze without a border."""
    field = opacity(chest, "Infiltration", (0.12, 0.17), 0.13, 0.25, 0.15, 0.85)
    _, border = cells(chest.rng, chest.shape, 0.95, 0.030 * chest.size)
    chest.density += 0.13 * field * np.exp(-((border / 0.22) ** 2))


def balls(chest, name: str, count: int, radius: tuple, strength: float) -> None:
    """Round shadows within the lungs, apart from one another; each is a part."""
    rng, both = chest.rng, chest.lungs[0] | chest.lungs[1]
    inner = chest.soft(both, 0.02) > 0.95
    inner &= np.abs(chest.x - chest.spine) > 0.12
    for _ in range(count):
        for spot in scatter(rng, inner, 1) / chest.size:  # none where lungs are full
            size = rng.uniform(*radius)
            deep = chest.ellipse(*spot, size, size * rng.uniform(0.9, 1.1))
            field = ramp(deep, -0.12, 0.25)
            chest.add(name, deep > 0, strength * field)
            inner &= chest.ellipse(*spot, 3 * size, 3 * size) < 0


def nodule(chest) -> None:
    """Small and round; often more than one."""
    count = chest.rng.choice([1, 2, 3, 4], p=[0.5, 0.25, 0.15, 0.1])
    balls(chest, "Nodule", count, (0.017, 0.028), 0.34)


def mass(chest) -> None:
    """Round and larger than three centimetres."""
    count = chest.rng.choice([1, 2], p=[0.8, 0.2])
    balls(chest, "Mass", count, (0.05, 0.085), 0.36)


def pneumothorax(chest) -> None:
    """Air beside the lung, which has drawn back: no vessels, and a fine white edge."""
    rng, lung = chest.rng, one_lung(chest)
    side = 1 if lung is chest.lungs[1] else -1
    rows = np.nonzero(lung.any(1))[0]
    top, long = rows[0] / chest.size, np.ptp(rows) / chest.size
    shift, shrink = side * rng.uniform(0.03, 0.055), rng.uniform(0.09, 0.16)
    stretch = 1 / (1 - shrink)
    drop = top - (top + shrink * long) * stretch
    way = np.float32([[1, 0, shift * chest.size], [0, stretch, drop * chest.size]])
    left = cv2.warpAffine(
        lung.astype(np.uint8), way, chest.shape, flags=cv2.WARP_INVERSE_MAP
    )
    left = lung & (left > 0)  # what is left of the lung
    gap = lung & ~left & (chest.y < top + 0.75 * long)
    air, tissue = chest.soft(gap, 0.004), chest.soft(left, 0.004)
    edge = 4 * tissue * (1 - tissue) * chest.soft(lung, 0.004) ** 4
    chest.vessels *= 1 - air
    chest.add("Pneumothorax", gap, 0.20 * edge - 0.15 * air)


def atelectasis(chest) -> None:
    """Collapsed lung: bands that lie across the lower field."""
    rng, lung = chest.rng, one_lung(chest)
    (spot,) = scatter(rng, lower(chest, lung, 0.55, 0.85), 1) / chest.size
    tilt, inside, found = rng.normal(0, 0.25), chest.soft(lung, 0.006), 0
    for _ in range(rng.integers(1, 4)):
        long, thick = rng.uniform(0.08, 0.12), rng.uniform(0.010, 0.018)
        deep = chest.ellipse(*spot, long, thick, tilt)
        found = np.maximum(found, ramp(deep, -0.2, 0.4))
        spot = np.add(spot, (rng.normal(0, 0.015), -rng.uniform(0.03, 0.045)))
    chest.add("Atelectasis", lung & (found > 0.4), 0.36 * found * inside)


def edema(chest) -> None:
    """Water around both roots of the lungs, like wings."""
    for side, lung in zip((-1, 1), chest.lungs, strict=True):
        deep = chest.ellipse(chest.spine + side * 0.13, 0.47, 0.15, 0.21)
        deep = deep + 0.15 * clouds(chest.rng, chest.shape, 0.06 * chest.size)
        field = ramp(deep, -0.1, 0.6) * chest.soft(lung, 0.006)
        chest.add("Edema", lung & (deep > 0.15), 0.27 * field)


def emphysema(chest) -> None:
    """Too much air: dark lungs with few vessels, and a flat floor."""
    for lung in chest.lungs:
        inside = chest.soft(lung, 0.006)
        chest.vessels *= 1 - 0.6 * inside
        chest.add("Emphysema", lung, -0.13 * inside)


def fibrosis(chest) -> None:
    """Scars: a net of fine lines in the lower parts of both lungs."""
    _, border = cells(chest.rng, chest.shape, 0.9, 0.020 * chest.size)
    net = np.exp(-((border / 0.25) ** 2))
    for lung in chest.lungs:
        zone = lower(chest, lung, 0.5, 1.0)
        field = chest.soft(zone, 0.04) * chest.soft(lung, 0.006)
        chest.add("Fibrosis", zone, (0.20 * net - 0.03) * field)


def pleural_thickening(chest) -> None:
    """A bright lining along the wall."""
    rng, lung = chest.rng, one_lung(chest)
    side = 1 if lung is chest.lungs[1] else -1
    thick = round(rng.uniform(0.030, 0.045) * chest.size)
    inner = np.roll(lung, -side * thick, axis=1)
    start = rng.uniform(0.22, 0.42)
    mask = lung & ~inner & (chest.y > start) & (chest.y < start + rng.uniform(0.2, 0.3))
    mask &= (chest.x - chest.spine) * side > 0.15
    chest.add("Pleural_Thickening", mask, 0.34 * chest.soft(mask, 0.005))


def hernia(chest) -> None:
    """A part of the stomach above the diaphragm: round, behind the heart, with air."""
    size = chest.rng.uniform(0.07, 0.09)
    x, y = chest.spine + chest.rng.normal(0.03, 0.015), chest.rng.normal(0.70, 0.01)
    deep = chest.ellipse(x, y, size, size)
    water = ramp(chest.y - y, -0.005, 0.005)
    field = ramp(deep, -0.05, 0.1) * (0.22 * water - 0.20 * (1 - water))
    rim = np.exp(-((deep / 0.10) ** 2))
    chest.add("Hernia", deep > 0, field + 0.18 * rim)


FINDINGS = {
    "Atelectasis": atelectasis,
    "Cardiomegaly": cardiomegaly,
    "Consolidation": consolidation,
    "Edema": edema,
    "Effusion": effusion,
    "Emphysema": emphysema,
    "Fibrosis": fibrosis,
    "Hernia": hernia,
    "Infiltration": infiltration,
    "Mass": mass,
    "Nodule": nodule,
    "Pleural_Thickening": pleural_thickening,
    "Pneumonia": pneumonia,
    "Pneumothorax": pneumothorax,
}


def one_lung(chest) -> np.ndarray:
    return chest.lungs[chest.rng.integers(2)]


def lower(chest, lung: np.ndarray, start: float, end: float) -> np.ndarray:
    """The part of a lung between two shares of its height."""
    rows = np.nonzero(lung.any(1))[0] / chest.size
    at = (chest.y - rows[0]) / np.ptp(rows)
    return lung & (at > start) & (at < end)

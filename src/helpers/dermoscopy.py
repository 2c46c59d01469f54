"""Paints a lesion on skin, with the exact truth about it. Behind the synthetic set (01).

Colour is made as light makes it: pigments and blood absorb, each in its own way, so a
pixel is `skin * exp(-sum of amount * absorption)`; white structures scatter and are laid
over that. Every structure is a field of amounts in [0, 1] over the canvas (H×W).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .fields import cells, clouds, discs, noise, outline, patch, ramp, scatter, strokes

# How strongly each substance absorbs red, green and blue light.
ABSORBS = {
    "brown": (0.55, 1.0, 1.55),  # melanin near the surface
    "blue-grey": (1.15, 0.90, 0.55),  # melanin in the depth
    "red": (0.10, 1.05, 0.80),  # blood
    "purple": (0.55, 1.15, 0.60),  # blood in the depth
    "yellow": (0.03, 0.14, 0.60),  # keratin
}
SCATTERS = {"white": (0.95, 0.88, 0.87), "veil": (0.52, 0.58, 0.70)}
SKIN = {  # six tones, from light to dark
    "very light": (0.97, 0.84, 0.82),
    "light": (0.95, 0.77, 0.72),
    "intermediate": (0.88, 0.69, 0.60),
    "tan": (0.76, 0.56, 0.46),
    "brown": (0.54, 0.37, 0.28),
    "dark": (0.39, 0.26, 0.20),
}


@dataclass
class Canvas:
    """A lesion on its skin: colours (H×W×3 in [0, 1]), lesion and evidence (H×W bool)."""

    image: np.ndarray
    lesion: np.ndarray
    evidence: np.ndarray


# ── Structures: each adds to the substances and returns where it is ──────────────────


class Painter:
    """The lesion while it is painted: its shape, its substances, its evidence."""

    def __init__(self, rng, shape, size: int, a: dict, at=(0, 0)):
        self.rng, self.shape, self.px, self.a = rng, shape, size / 160, a
        self.amount = {name: np.zeros(shape, np.float32) for name in ABSORBS}
        self.cover = {name: np.zeros(shape, np.float32) for name in SCATTERS}
        h, w = shape
        self.centre = np.array([w, h]) / 2 + at + rng.normal(0, 0.035 * size, 2)
        sdf = outline(rng, shape, self.centre, a["radius"] * size, a)
        for _ in range(a["islands"]):  # several patches instead of one
            far = rng.normal(0, 0.75 * a["radius"] * size, 2)
            part = a["radius"] * size * rng.uniform(0.35, 0.7)
            sdf = np.maximum(sdf, outline(rng, shape, self.centre + far, part, a))
        ragged = noise(rng, shape, 5 * self.px) + noise(rng, shape, 11 * self.px)
        self.sdf = sdf + ragged * self.px * (0.3 + 2.2 * a["irregularity"])
        self.lesion = self.sdf > 0
        self.depth = self.sdf / max(float(self.sdf.max()), 1)  # 0 border, 1 middle
        self.body = ramp(self.sdf, -a["softness"] * self.px, a["softness"] * self.px)
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        way = rng.uniform(0, 2 * np.pi)
        side = (x - self.centre[0]) * np.cos(way) + (y - self.centre[1]) * np.sin(way)
        self.side = side / (a["radius"] * size)  # -1 … 1 across: for lopsided colour

    def pigment(self) -> None:
        """The lesion's ground colours: brown, then each further colour as a zone."""
        a, rng = self.a, self.rng
        mottle = 1 + a["mottle"] * clouds(rng, self.shape, 14 * self.px)
        mottle += 0.10 * noise(rng, self.shape, 2.2 * self.px)
        lean = 1 + 0.35 * a["lopsided"] * self.side
        fade = 0.55 + 0.45 * ramp(self.depth, 0, 0.12 + 0.04 * a["softness"])
        base = self.body * fade * np.clip(mottle * lean, 0.25, 1.9)
        self.amount["brown"] += a["brown"] * base
        self.amount["red"] += a["red"] * base
        self.amount["purple"] += a["purple"] * base
        self.cover["white"] += a["pale"] * self.body * np.clip(mottle, 0, 1)
        towards = self.side if a["lopsided"] > 0.5 else self.depth * 1.5
        for colour in a["zones"]:
            zone = self.body * patch(
                rng, self.lesion, rng.uniform(0.15, 0.4), 14 * self.px, towards
            )
            if colour == "light brown":
                for name in ("brown", "red"):
                    self.amount[name] *= 1 - 0.5 * zone
            elif colour == "white":
                self.cover["white"] += 0.28 * zone
            else:
                name = {"dark brown": "brown", "black": "brown"}.get(colour, colour)
                strength = {"black": 1.6, "blue-grey": 0.75, "red": 0.4}.get(
                    colour, 0.6
                )
                self.amount[name] += strength * zone

    def over(self, image: np.ndarray) -> np.ndarray:
        """The lesion's substances over a picture: they absorb, then they scatter."""
        density = sum(
            np.clip(self.amount[name], 0, None)[..., None] * np.float32(absorbs)
            for name, absorbs in ABSORBS.items()
        )
        image = image * np.exp(-density)
        for name, colour in SCATTERS.items():
            alpha = np.clip(self.cover[name], 0, 0.9)[..., None]
            image = image * (1 - alpha) + alpha * np.float32(colour)
        return image

    def network(self, kind: str) -> np.ndarray:
        """Pigment network: even and fading out (typical), or coarse and broken."""
        rng, atypical = self.rng, kind == "atypical network"
        spacing = rng.uniform(4.2, 5.6) * self.px * (1.3 if atypical else 1)
        _, border = cells(rng, self.shape, 0.95 if atypical else 0.6, spacing)
        width = 0.25
        if atypical:
            width = np.clip(0.26 + 0.13 * noise(rng, self.shape, 12 * self.px), 0.1, 1)
        lines = np.exp(-((border / width) ** 2))
        where = self.body * ramp(self.sdf, -1, 4 * self.px)
        if atypical:
            where = where * patch(rng, self.lesion, 0.55, 18 * self.px, self.side)
        elif kind == "peripheral network":
            where = where * ramp(-self.depth, -0.7, -0.25)
        else:
            where = where * ramp(self.depth, 0.02, 0.5)
        where = where * np.clip(1 + 0.35 * noise(rng, self.shape, 15 * self.px), 0, 1)
        amount = {"atypical network": 1.1, "typical network": 0.7}.get(kind, 0.3)
        self.amount["brown"] += where * (amount * lines - 0.12 * (1 - lines))
        return where > 0.4

    def dots(self, kind: str) -> np.ndarray:
        """Dots and globules: evenly spread, or of many sizes on one side."""
        rng, px = self.rng, self.px
        if kind == "irregular dots":
            region = self.lesion & (self.side > rng.uniform(-0.3, 0.2))
            points = scatter(rng, region, rng.integers(14, 34))
            radii = rng.uniform(0.6, 2.4, len(points)) * px
        else:
            spacing = rng.uniform(7, 9) * px
            seed, _ = cells(rng, self.shape, 0.5, spacing)
            rim = (
                self.rng.random() < 0.4
            )  # globules all around the rim: a growing nevus
            region = (self.depth < 0.35) if rim else self.lesion
            spots = ramp(-seed, -0.40, -0.10) * (self.lesion & region)
            self.amount["brown"] += rng.uniform(0.35, 0.7) * spots
            return cv2.dilate((spots > 0.4).astype(np.uint8), np.ones((3, 3))) > 0
        spots = discs(self.shape, points, radii)
        self.amount["brown"] += rng.uniform(1.0, 1.6) * spots
        return spots > 0.3

    def streaks(self) -> np.ndarray:
        """Streaks: radial projections at the border, on one side."""
        rng, px = self.rng, self.px
        rim = (np.abs(self.sdf) < 1.2 * px) & (self.side > rng.uniform(-0.4, 0.3))
        gy, gx = np.gradient(cv2.GaussianBlur(self.sdf, (0, 0), 3 * px))
        starts, lines, ends = scatter(rng, rim, rng.integers(16, 30)), [], []
        for x, y in starts:
            i, j = min(int(y), len(gy) - 1), min(int(x), gy.shape[1] - 1)
            away = -np.array([gx[i, j], gy[i, j]]) / (np.hypot(gx, gy)[i, j] + 1e-6)
            long = rng.uniform(4, 10) * px
            lines.append([(x, y) - away * 4 * px, (x, y) + away * long])
            ends.append((x, y) + away * long)
        drawn = strokes(self.shape, lines, rng.uniform(0.8, 1.8, len(lines)) * px)
        bulbs = discs(self.shape, ends, rng.uniform(0.7, 1.5, len(ends)) * px)
        drawn = np.maximum(drawn, bulbs)
        self.amount["brown"] += 1.2 * drawn
        self.lesion |= drawn > 0.5
        return drawn > 0.3

    def veil(self) -> np.ndarray:
        """Blue-white veil: a structureless blue area under a whitish film."""
        rng = self.rng
        where = patch(rng, self.lesion, rng.uniform(0.18, 0.4), 20 * self.px, self.side)
        where = where * ramp(self.sdf, 1, 6 * self.px)
        film = np.clip(1 + 0.3 * clouds(rng, self.shape, 8 * self.px), 0.3, 1.3)
        self.amount["blue-grey"] += 0.75 * where
        self.cover["veil"] += rng.uniform(0.15, 0.4) * where * film
        return where > 0.4

    def regression(self) -> np.ndarray:
        """Regression: a white scar with grey peppering."""
        rng = self.rng
        where = patch(rng, self.lesion, rng.uniform(0.15, 0.3), 15 * self.px, self.side)
        where = where * ramp(self.sdf, 0, 4 * self.px)
        points = scatter(rng, where > 0.5, 50)
        pepper = discs(self.shape, points, np.full(len(points), 0.6 * self.px))
        for name in self.amount:
            self.amount[name] *= 1 - 0.75 * where
        self.cover["white"] += 0.15 * where
        self.amount["blue-grey"] += 0.15 * where + 0.6 * pepper
        return where > 0.4

    def cysts(self) -> np.ndarray:
        """Milia-like cysts: small white or yellow pearls."""
        rng, px = self.rng, self.px
        points = scatter(rng, self.sdf > 3 * px, rng.integers(6, 18))
        spots = discs(self.shape, points, rng.uniform(1.0, 2.6, len(points)) * px, 0.8)
        self.cover["white"] += 0.6 * spots
        self.amount["yellow"] += 0.5 * spots
        return spots > 0.3

    def openings(self) -> np.ndarray:
        """Comedo-like openings: dark craters with soft rims."""
        rng, px = self.rng, self.px
        points = scatter(rng, self.sdf > 3 * px, rng.integers(5, 14))
        radii = (0.9 + 1.1 * rng.exponential(1, len(points)).clip(0, 3.5)) * px
        spots = discs(self.shape, points, radii, 0.9)
        self.amount["brown"] += 1.4 * spots
        self.amount["yellow"] += 0.4 * discs(self.shape, points, radii * 1.6, 1.2)
        return spots > 0.3

    def vessels(self) -> np.ndarray:
        """Arborising vessels: sharp red trunks that branch and thin out."""
        rng, px, lines, widths = self.rng, self.px, [], []

        def grow(at, way, width, steps):
            path = [at]
            for _ in range(steps):
                way = way + rng.normal(0, 0.5)
                path.append(path[-1] + 2.8 * px * np.array([np.cos(way), np.sin(way)]))
                if width > 0.35 and rng.random() < 0.42:
                    turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
                    grow(path[-1], way + turn, width * 0.62, int(steps * 0.6))
            lines.append(path)
            widths.append(width * px)

        for start in scatter(rng, np.abs(self.depth - 0.25) < 0.12, rng.integers(2, 5)):
            to = self.centre - start
            way = np.arctan2(to[1], to[0])
            grow(start, way + rng.normal(0, 0.4), rng.uniform(0.5, 0.95), 12)
        drawn = strokes(self.shape, lines, widths) * ramp(self.sdf, -6 * px, 3 * px)
        self.amount["red"] += 0.75 * drawn
        return cv2.dilate((drawn > 0.3).astype(np.uint8), np.ones((3, 3))) > 0

    def nests(self) -> np.ndarray:
        """Blue-grey ovoid nests: a few large, well-defined blots."""
        rng, px = self.rng, self.px
        points = scatter(rng, self.sdf > 2 * px, rng.integers(3, 9))
        radii = rng.uniform(2.2, 5.5, len(points)) * px
        blots = discs(self.shape, points, radii, 1.1 * px)
        ragged = blots * (1 + 0.35 * noise(rng, self.shape, 4 * px))
        blots = ramp(ragged, 0.2, 0.95)
        self.amount["blue-grey"] += rng.uniform(0.5, 0.9) * blots
        self.amount["brown"] += 0.25 * blots
        return blots > 0.4

    def ulcer(self) -> np.ndarray:
        """Ulceration: a raw, orange-red crust."""
        where = patch(self.rng, self.depth > 0.25, 0.2, 12 * self.px)
        where = where * ramp(self.depth, 0.2, 0.5)
        self.amount["red"] += 1.0 * where
        self.amount["yellow"] += 0.9 * where
        self.amount["brown"] += 0.3 * where
        return where > 0.5

    def scale(self) -> np.ndarray:
        """Scale: whitish-yellow flakes on the surface."""
        rng, px = self.rng, self.px
        flakes = noise(rng, self.shape, 2.5 * px) + noise(rng, self.shape, 9 * px)
        where = ramp(flakes, 0.5, 1.9) * self.body * ramp(self.sdf, -2, 4 * px)
        where = cv2.GaussianBlur(where, (0, 0), 0.8 * px)
        self.cover["white"] += 0.28 * where
        self.amount["yellow"] += 0.55 * where
        return where > 0.25

    def strawberry(self) -> np.ndarray:
        """Strawberry pattern: red skin between pale hair follicles."""
        rng, px = self.rng, self.px
        seed, _ = cells(rng, self.shape, 0.95, rng.uniform(6.5, 9) * px)
        pale, plug = ramp(-seed, -0.5, -0.1), ramp(-seed, -0.16, -0.05)
        here = self.body * np.clip(0.7 + 0.5 * noise(rng, self.shape, 14 * px), 0, 1)
        self.amount["red"] += here * 0.34 * (1 - pale)
        self.cover["white"] += here * 0.22 * pale
        self.amount["yellow"] += here * (0.25 * pale + 0.45 * plug)
        return self.sdf > 2 * px

    def scar(self) -> np.ndarray:
        """Central white patch: pale, scar-like, with fine strands."""
        rng, px = self.rng, self.px
        strands = np.exp(-((noise(rng, self.shape, 3.5 * px) / 0.35) ** 2))
        field = self.depth + 0.13 * noise(rng, self.shape, 9 * px)
        where = ramp(field, 0.18, 0.78)
        for name in self.amount:
            self.amount[name] *= 1 - 0.6 * where
        self.amount["purple"] += 0.22 * self.body
        self.cover["white"] += where * (0.1 + 0.4 * strands)
        return where > 0.4

    def lacunae(self) -> np.ndarray:
        """Lacunae: sharp red, purple or blue-black lakes, packed together."""
        rng, px = self.rng, self.px
        seed, _ = cells(rng, self.shape, 0.95, rng.uniform(6, 13) * px)
        round_ = ramp(-seed + 0.2 * noise(rng, self.shape, 12 * px), -0.62, -0.38)
        lakes = round_ * ramp(self.sdf, 0, 2.5 * px)
        tint = 0.8 * noise(rng, self.shape, 8 * px) + rng.uniform(-0.6, 0.9)
        self.amount["red"] += lakes * np.clip(0.9 + 0.2 * tint, 0.5, 1.5)
        self.amount["purple"] += lakes * np.clip(0.15 + 0.6 * tint, 0, 1.6)
        self.cover["white"] += rng.uniform(0, 0.08) * self.body * (1 - round_)
        self.amount["purple"] += 0.35 * self.body * (1 - round_)
        return (lakes > 0.5) & self.lesion


STRUCTURES = {
    "typical network": lambda p: p.network("typical network"),
    "atypical network": lambda p: p.network("atypical network"),
    "peripheral network": lambda p: p.network("peripheral network"),
    "regular globules": lambda p: p.dots("regular globules"),
    "irregular dots": lambda p: p.dots("irregular dots"),
    "streaks": Painter.streaks,
    "blue-white veil": Painter.veil,
    "regression": Painter.regression,
    "milia-like cysts": Painter.cysts,
    "comedo-like openings": Painter.openings,
    "arborising vessels": Painter.vessels,
    "blue-grey nests": Painter.nests,
    "ulceration": Painter.ulcer,
    "scale": Painter.scale,
    "strawberry pattern": Painter.strawberry,
    "central white patch": Painter.scar,
    "lacunae": Painter.lacunae,
}


def skin(rng, shape, tone: str, size: int) -> np.ndarray:
    """Bare skin (H×W×3): tone, mottling, freckles, fine furrows."""
    px = size / 160
    base = np.array(SKIN[tone], np.float32) * rng.normal(1, 0.015, 3)
    _, furrows = cells(rng, shape, 0.9, rng.uniform(6, 9) * px)
    furrows = np.exp(-((furrows / 0.16) ** 2))
    patches = clouds(rng, shape, 34 * px)
    melanin = 0.022 * patches + 0.03 * furrows + 0.012 * noise(rng, shape, 2 * px)
    sun = ramp(clouds(rng, shape, 13 * px) + 0.6 * patches, 0.3, 3.2)
    melanin += rng.choice([0, 0, 0, 0.06, 0.14]) * sun
    melanin += 0.012 * noise(rng, shape, max(1.0 * px, 1))
    blood = 0.02 * clouds(rng, shape, 24 * px) + 0.03 * clouds(rng, shape, 3 * px)
    density = melanin[..., None] * np.float32(ABSORBS["brown"])
    density += blood[..., None] * np.float32(ABSORBS["red"])
    return base.astype(np.float32) * np.exp(-density)


def paint(rng, size: int, attributes: dict) -> Canvas:
    """One lesion on its skin, on a canvas a quarter larger than the picture."""
    return paint_several(rng, size, [attributes], [(0, 0)])[0]


def paint_several(rng, size: int, lesions: list[dict], places) -> list[Canvas]:
    """Lesions on one skin (the first one's), each away from the middle by its place.

    One canvas a lesion: all have the same picture, and each the masks of its own lesion.
    """
    shape = (round(size * 1.3), round(size * 4 / 3 * 1.3))
    painters, evidence = [], []
    for attributes, place in zip(lesions, places, strict=True):
        painter = Painter(rng, shape, size, attributes, place)
        painter.pigment()
        found = np.zeros(shape, bool)
        for name in attributes["structures"]:
            where = STRUCTURES[name](painter)
            if name in attributes["hallmarks"]:
                found |= where
        painters.append(painter)
        evidence.append(found & painter.lesion)
    image = skin(rng, shape, lesions[0]["skin_tone"], size)
    for painter in painters:
        image = painter.over(image)
    masks = zip(painters, evidence, strict=True)
    return [Canvas(image, painter.lesion, found) for painter, found in masks]

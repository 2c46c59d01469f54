"""Paints a chest film, with the exact truth about it. Behind the synthetic films (07).

A film is made as X-rays make it: every tissue on the way adds to a density, and what is
dense stays white. Air is dark, so a finding that replaces air by water is bright. Fields
are H×W float32; places are shares of the side, from the upper left; the heart's tip lies
to the right, for one looks at the patient from the front.
"""

from math import cos, sin

import cv2
import numpy as np

from .fields import noise, ramp, strokes

# Half of a chest's outline, lung border from the apex along the wall to the dome: (x, y),
# x counted from the spine outwards.
LUNG = np.array([
    (0.10, 0.16), (0.17, 0.11), (0.25, 0.14), (0.31, 0.26), (0.345, 0.42),
    (0.36, 0.58), (0.365, 0.72), (0.355, 0.82), (0.29, 0.755), (0.20, 0.71),
    (0.11, 0.735), (0.075, 0.66), (0.09, 0.50), (0.075, 0.36), (0.07, 0.24),
])  # fmt: skip
# The outline of half a patient, from the neck to the waist.
TRUNK = np.array([
    (0.085, -0.1), (0.09, 0.05), (0.16, 0.085), (0.33, 0.11), (0.44, 0.16),
    (0.49, 0.26), (0.50, 0.44), (0.45, 0.54), (0.45, 0.78), (0.47, 1.1),
])  # fmt: skip
TISSUE = {"body": 0.62, "lung": -0.44, "heart": 0.26, "spine": 0.13, "rib": 0.14}


class Chest:
    """One patient's film while it is painted: its density, lungs, heart and findings."""

    def __init__(self, rng, body, size: int):
        """`body` draws what stays the same in all films of a patient, `rng` the rest."""
        self.rng, self.size, self.shape = rng, size, (size, size)
        self.y, self.x = np.mgrid[0:size, 0:size].astype(np.float32) / size
        self.spine = float(0.5 + body.normal(0, 0.015))
        self.wide, self.high = body.uniform(0.92, 1.08), body.uniform(0.93, 1.06)
        self.girth, self.breath = body.uniform(0.95, 1.12), rng.uniform(-0.03, 0.02)
        self.masks: dict[str, list[np.ndarray]] = {}
        self.lungs = [self.lung(side) for side in (-1, 1)]  # left and right of the film
        self.heart_width = body.uniform(0.100, 0.118)
        self.density = np.zeros(self.shape, np.float32)
        self.vessels = np.zeros(self.shape, np.float32)
        self.ribs = self.cage(body)

    def trunk(self) -> np.ndarray:
        """How deep (a share of the side) each place lies within neck, arms and trunk."""
        mask = np.zeros(self.shape, np.uint8)
        half = TRUNK * (self.girth, 1)
        points = np.concatenate([half, half[::-1] * (-1, 1)])
        points[:, 0] += self.spine
        cv2.fillPoly(mask, [np.int32(points * self.size)], 1)
        mask = cv2.copyMakeBorder(mask, 0, self.size // 4, 0, 0, cv2.BORDER_REPLICATE)
        away = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[: self.size]
        return cv2.GaussianBlur(away, (0, 0), 0.018 * self.size) / self.size

    def lung(self, side: int) -> np.ndarray:
        """The mask of one lung; the dome under the heart's side stands lower."""
        points = LUNG * (self.wide, self.high)
        low = (points[:, 1] > 0.66)[:, None] * ((0, 0.03 * (side > 0) + self.breath),)
        points = points + low + self.rng.normal(0, 0.004, points.shape)
        return self.area((points[:, 0] * side + self.spine, points[:, 1]))

    def area(self, points, soft: int = 9) -> np.ndarray:
        """A closed shape through points (shares of the side), its corners rounded."""
        mask = np.zeros(self.shape, np.uint8)
        corners = np.round(np.stack(points, 1) * self.size * 16).astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, shift=4)
        blur = soft * self.size / 256
        return cv2.GaussianBlur(mask, (0, 0), blur / 2) > 127

    def soft(self, mask: np.ndarray, edge: float) -> np.ndarray:
        """A mask as a field with an edge `edge` wide (a share of the side)."""
        return cv2.GaussianBlur(np.float32(mask), (0, 0), max(edge * self.size, 0.3))

    def ellipse(self, x, y, rx, ry, tilt=0.0) -> np.ndarray:
        """How deep each place lies inside an ellipse: 1 in the middle, 0 at its edge."""
        turn = np.array([[cos(tilt), sin(tilt)], [-sin(tilt), cos(tilt)]])
        turn /= np.reshape([rx, ry], (2, 1))
        (a, b), (c, d) = turn.tolist()
        dx, dy = self.x[:1] - float(x), self.y[:, :1] - float(y)
        return 1 - np.sqrt((a * dx + b * dy) ** 2 + (c * dx + d * dy) ** 2)

    def lines(self, paths, widths) -> np.ndarray:
        """Curves by their points (shares of the side), widths as shares as well."""
        scaled = [np.asarray(path) * self.size for path in paths]
        return strokes(self.shape, scaled, np.asarray(widths) * self.size)

    def cage(self, body) -> np.ndarray:
        """Ribs and collar bones, brighter along their edges."""
        paths, t = [], np.linspace(0, 1, 12)
        for side in (-1, 1):
            for k in range(9):
                top = 0.10 + 0.078 * k * self.high + body.normal(0, 0.003)
                out = (0.04 + 0.33 * np.sin(t * np.pi / 2)) * self.wide
                drop = -0.035 * np.sin(t * np.pi) + (0.05 + 0.012 * k) * t**2
                paths.append(np.stack([self.spine + side * out, top + drop], 1))
        whole = self.lines(paths, np.full(len(paths), 0.024))
        inner = self.lines(paths, np.full(len(paths), 0.014))
        bones = []
        for side in (-1, 1):
            rise = 0.185 - 0.075 * t + 0.02 * np.sin(t * 2 * np.pi)
            bones.append(np.stack([self.spine + side * (0.035 + 0.30 * t), rise], 1))
        return whole - 0.45 * inner + 1.3 * self.lines(bones, [0.026, 0.026])

    def anatomy(self) -> None:
        """The chest without findings: trunk, lungs, heart, spine, ribs, vessels."""
        both = self.lungs[0] | self.lungs[1]
        trunk = self.trunk()
        self.density += (
            TISSUE["body"] * ramp(trunk, -0.005, 0.10) * (0.84 + 0.2 * self.y)
        )
        self.density += TISSUE["lung"] * self.soft(both, 0.007)
        reach, tip = self.heart_width, 0.60 + self.breath / 2
        heart = self.ellipse(self.spine + 0.4 * reach, tip, 1.35 * reach, reach, 0.75)
        self.heart = (heart > 0) & (self.y < 0.79)
        under = ramp(self.y, 0.68, 0.80) * (1 - self.soft(both, 0.006))
        self.density += TISSUE["heart"] * ramp(heart, -0.05, 0.22) * (1 - 0.6 * under)
        middle = np.abs(self.x - self.spine)
        column = ramp(-middle, -0.075, -0.03) * ramp(self.y, -0.2, 0.1)
        discs_of_it = 0.9 + 0.1 * np.cos(self.y * 2 * np.pi * 21)
        self.density += TISSUE["spine"] * column * discs_of_it
        knob = self.ellipse(self.spine + 0.055, 0.30, 0.042, 0.05)
        self.density += 0.14 * ramp(knob, -0.1, 0.4) + 0.09 * under
        if self.rng.random() < 0.6:  # air in the stomach
            bubble = self.ellipse(self.spine + 0.17, 0.86 + self.breath, 0.06, 0.03)
            self.density -= 0.17 * ramp(bubble, 0, 0.3)
        self.density += TISSUE["rib"] * self.ribs * ramp(trunk, 0, 0.05)
        self.vessels = self.tree() * both

    def stretch(self) -> None:
        """Lungs that are too full: longer and flat below."""
        shift = np.float32([[1, 0, 0], [0, 1.07, -0.035 * self.size]])
        self.lungs = [
            cv2.warpAffine(lung.astype(np.uint8), shift, self.shape) > 0
            for lung in self.lungs
        ]

    def tree(self) -> np.ndarray:
        """Vessels: they leave the two roots, branch, and grow thin."""
        paths, widths = [], []
        for side in (-1, 1):
            root = np.array([self.spine + side * 0.085, 0.43])
            for angle in np.linspace(-1.35, 1.45, 9) + self.rng.normal(0, 0.1, 9):
                self.branch(root, angle, side, 0.010, 0.14, paths, widths)
        return cv2.GaussianBlur(self.lines(paths, widths), (0, 0), 0.7)

    def branch(self, start, angle, side, width, long, paths, widths) -> None:
        bend = angle + self.rng.normal(0, 0.25)
        way = np.array([[side * np.cos(a), np.sin(a)] for a in (angle, bend)])
        path = [start, start + long / 2 * way[0], start + long / 2 * (way[0] + way[1])]
        paths.append(path)
        widths.append(width)
        if width > 0.004:
            for turn in (-0.35, 0.35):
                turned = bend + turn + self.rng.normal(0, 0.15)
                self.branch(
                    path[-1], turned, side, width * 0.6, long * 0.72, paths, widths
                )

    def add(self, name: str, mask: np.ndarray, field) -> None:
        """A part of a finding: what it adds to the density, and where it is."""
        self.density += np.float32(field)
        if mask.any():
            self.masks.setdefault(name, []).append(mask)

    def film(self) -> np.ndarray:
        """The exposed film: density on a curve, with grain; H×W uint8."""
        rng = self.rng
        curve = np.clip(self.density + 0.11 * self.vessels, -0.2, 1.6)
        steep, middle = rng.uniform(4.2, 5.0), rng.uniform(0.38, 0.46)
        light = 255 / (1 + np.exp(-steep * (curve - middle)))
        grain = 3 * rng.standard_normal(self.shape, dtype=np.float32)
        grain += 1.5 * noise(rng, self.shape, 2)
        return np.uint8(np.clip(np.round(light + grain), 0, 255))

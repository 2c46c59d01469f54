"""What a dermatoscope adds to a lesion: light, hairs, rulers, ink, bubbles, corners.

Behind the synthetic set (01). Each artefact draws on a picture (H×W×3 in [0, 1]) in place
and returns the mask of where it lies (thin marks with a pixel's margin).
"""

import cv2
import numpy as np

from .dermoscopy import Canvas
from .fields import discs, noise, ramp, strokes
from .settings import CourseError


def view(rng, canvas: Canvas, size: int) -> tuple[np.ndarray, ...]:
    """A photograph's framing: turned, zoomed, shifted (image, lesion, evidence)."""
    h, w = size, round(size * 4 / 3)
    ch, cw = canvas.lesion.shape
    angle, zoom = rng.uniform(0, 360), rng.uniform(0.92, 1.18)
    move = cv2.getRotationMatrix2D((cw / 2, ch / 2), angle, zoom)
    move[:, 2] += np.array([w - cw, h - ch]) / 2
    move[:, 2] += rng.normal(0, 0.035, 2) * size
    mirror = cv2.BORDER_REFLECT_101
    image = cv2.warpAffine(canvas.image, move, (w, h), borderMode=mirror)
    masks = (canvas.lesion, canvas.evidence)
    warped = (cv2.warpAffine(m.astype(np.float32), move, (w, h)) > 0.5 for m in masks)
    return (image, *warped)


def light(rng, image: np.ndarray) -> np.ndarray:
    """Lamp and camera: a gradient, fall-off to the rim, white balance, exposure."""
    h, w = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    way = rng.uniform(0, 2 * np.pi)
    shade = 1 + rng.normal(0, 0.03) * (x * np.cos(way) + y * np.sin(way))
    shade -= rng.uniform(0, 0.16) * (x * x + y * y) / 2
    balance = rng.normal(1, 0.045, 3) * rng.uniform(0.88, 1.08)
    return image * shade[..., None] * balance.astype(np.float32)


def develop(rng, image: np.ndarray) -> np.ndarray:
    """Lens and sensor: a little blur, a little noise, eight bits."""
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.35, 0.8))
    h, w = image.shape[:2]
    grain = rng.standard_normal((h, w, 1), dtype=np.float32)
    image = image + grain * np.float32(rng.uniform(0.004, 0.012))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _lay(image: np.ndarray, alpha: np.ndarray, colour) -> None:
    """Lays a colour over a picture, in place."""
    image *= 1 - alpha[..., None]
    image += alpha[..., None] * np.float32(colour)


def hairs(rng, image: np.ndarray) -> np.ndarray:
    h, w = image.shape[:2]
    px, way = h / 160, rng.uniform(0, np.pi)
    n = rng.integers(2, 22)
    lines, t = [], np.linspace(0, 1, 24)[:, None]
    for _ in range(n):
        low, high = (-0.3, 1) if lines else (0.2, 0.8)  # the first is well inside
        start = rng.uniform((low * w, low * h), (high * w, high * h))
        turn = way + rng.normal(0, 0.5)
        reach = rng.uniform(60, 260) * px
        step = reach * np.array([np.cos(turn), np.sin(turn)])
        bend = rng.normal(0, 0.13, 2) * reach
        lines.append(start + step * t + 4 * bend * t * (1 - t))
    alpha = strokes((h, w), lines, rng.uniform(0.3, 0.7, n) * px)
    fair = rng.random() < 0.5 and image.mean() < 0.45  # seen on dark skin only
    colour = (0.72, 0.60, 0.45) if fair else (0.16, 0.10, 0.08)
    _lay(image, alpha * (0.5 if fair else 0.85), colour)
    return alpha > 0.3


def ruler(rng, image: np.ndarray) -> np.ndarray:
    """A printed scale along an edge: ticks every millimetre, longer every fifth."""
    h, w = image.shape[:2]
    px, below = h / 160, rng.random() < 0.7
    mm, length = rng.uniform(6, 9) * px, (w if below else h)
    n = int(rng.uniform(0.35, 0.8) * length / mm)
    first, depth = rng.uniform(0.05, 0.2) * length, rng.uniform(5, 14) * px
    far = rng.random() < 0.8
    lines = []
    for k in range(n + 1):
        tick = (9 if k % 5 == 0 else 5) * px
        edge = (h if below else w) - depth if far else depth
        tip = edge - tick if far else edge + tick
        along = first + k * mm
        ends = [(along, edge), (along, tip)] if below else [(edge, along), (tip, along)]
        lines.append(ends)
    if rng.random() < 0.5:  # some scales have a base line
        lines.append([lines[0][0], lines[-1][0]])
    alpha = strokes((h, w), lines, np.full(len(lines), 0.6 * px))
    _lay(image, alpha * 0.85, (0.10, 0.10, 0.12))
    return cv2.dilate((alpha > 0.25).astype(np.uint8), np.ones((3, 3))) > 0


def ink(rng, image: np.ndarray) -> np.ndarray:
    """Surgical marker: violet strokes near the rim."""
    h, w = image.shape[:2]
    px, lines = h / 160, []
    for _ in range(rng.integers(1, 4)):
        side = rng.uniform(0, 2 * np.pi)
        at = np.array([w, h]) / 2 * (1 + 0.86 * np.array([np.cos(side), np.sin(side)]))
        way = rng.uniform(0, np.pi)
        reach = rng.uniform(5, 18) * px * np.array([np.cos(way), np.sin(way)])
        lines.append([at - reach, at + rng.normal(0, 3, 2) * px, at + reach])
    alpha = strokes((h, w), lines, rng.uniform(3, 6, len(lines)) * px)
    rough = alpha + 0.35 * noise(rng, (h, w), 3 * px) * (alpha > 0)
    alpha = cv2.GaussianBlur(ramp(rough, 0.25, 0.9), (0, 0), 0.9 * px)
    violet = [(0.25, 0.14, 0.42), (0.16, 0.20, 0.48), (0.35, 0.12, 0.38)]
    _lay(image, alpha * 0.82, violet[rng.integers(3)])
    return alpha > 0.25


def bubbles(rng, image: np.ndarray) -> np.ndarray:
    """Bubbles in the gel: thin bright rims with a glint."""
    h, w = image.shape[:2]
    px, n = h / 160, rng.integers(2, 9)
    points, radii = rng.uniform((0, 0), (w, h), (n, 2)), rng.uniform(2, 9, n) * px
    whole, inner = discs((h, w), points, radii), discs((h, w), points, radii - 0.9 * px)
    rim = np.clip(whole - inner, 0, 1)
    _lay(image, 0.45 * rim, (0.97, 0.95, 0.94))
    _lay(image, 0.10 * inner, (1, 1, 1))
    glint = discs((h, w), points - 0.4 * radii[:, None], np.full(n, 0.8 * px))
    _lay(image, 0.9 * glint, (1, 1, 1))
    return whole > 0.3


def corners(rng, image: np.ndarray) -> np.ndarray:
    """The round rim of the dermatoscope: black corners."""
    h, w = image.shape[:2]
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    cx, cy = w / 2 + rng.normal(0, 0.02) * w, h / 2 + rng.normal(0, 0.02) * h
    away = np.hypot(x - cx, y - cy) / h
    rim = rng.uniform(0.60, 0.74)
    alpha = ramp(away, rim, rim + rng.uniform(0.02, 0.07))
    _lay(image, alpha * 0.97, (0.02, 0.02, 0.03))
    return alpha > 0.3


ARTEFACTS = {
    "hair": hairs,
    "ruler": ruler,
    "ink": ink,
    "bubbles": bubbles,
    "dark corners": corners,
}


def stamped(pixels: np.ndarray, name: str, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Pictures (N×H×W×3 uint8) with an artefact laid over each, and where (N×H×W bool).

    Any pictures: so it can be asked what a model does when nothing but this is added.
    """
    if name not in ARTEFACTS:
        raise CourseError(f"unknown artefact {name!r}: choose {', '.join(ARTEFACTS)}")
    images, masks = [], []
    for number, picture in enumerate(pixels):
        image = picture.astype(np.float32) / 255
        masks.append(ARTEFACTS[name](np.random.default_rng([seed, number]), image))
        images.append((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))
    return np.stack(images), np.stack(masks)


def photograph(rng, canvas: Canvas, size: int, wanted: list[str]) -> tuple:
    """A picture of a painted lesion, and its masks.

    Returns image (H×W×3 uint8), lesion, evidence (H×W bool, without what an artefact
    hides) and the mask of each artefact by name.
    """
    image, lesion, evidence = view(rng, canvas, size)
    image = light(rng, image)
    masks = {
        name: draw(rng, image) for name, draw in ARTEFACTS.items() if name in wanted
    }
    hidden = np.zeros_like(lesion)
    for mask in masks.values():
        hidden |= mask
    return develop(rng, image), lesion, evidence & ~hidden, masks


def nudge(rng, image, lesion, evidence, masks) -> tuple:
    """The same photograph again, cropped and exposed a little otherwise."""
    h, w = lesion.shape
    move = cv2.getRotationMatrix2D((w / 2, h / 2), 0, rng.uniform(1.005, 1.03))
    move[:, 2] += rng.uniform(-0.012, 0.012, 2) * h

    def warp(field):
        mirror = cv2.BORDER_REFLECT_101
        return cv2.warpAffine(field, move, (w, h), borderMode=mirror)

    def warp_mask(mask):
        return warp(mask.astype(np.uint8)) > 0

    image = warp(image).astype(np.float32) * rng.uniform(0.97, 1.03)
    masks = {name: warp_mask(mask) for name, mask in masks.items()}
    image = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return image, warp_mask(lesion), warp_mask(evidence), masks

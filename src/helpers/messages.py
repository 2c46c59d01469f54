"""What the service answers, as types: they make its OpenAPI page (shown in notebook 08)."""

import base64
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BaseModel, Field

from . import figures, heatmaps, viewing
from .engine import ALPHA, Engine, sentence
from .engine import Answer as Found

NOTICE = "Teaching material. Not a medical device, and not for diagnosis."
UNFAMILIAR = (
    "The picture does not look like the dermoscopic pictures that the model learnt from: "
    "its answer means nothing here."
)
UNCHECKED = (
    "This model has no rule that tells whether a picture is of the kind it knows."
)
FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # since OpenCV 4.12: half the time
    FAST += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Notice = Literal["Teaching material. Not a medical device, and not for diagnosis."]
PNG = Annotated[
    str, Field(pattern="^data:image/png;base64,", examples=["data:image/png;…"])
]


class Told(BaseModel):
    notice: Notice = NOTICE


class Problem(Told):
    error: str = Field(
        description="What is at fault, and the way out",
        examples=["not a JPEG, PNG or WebP"],
    )


class Class(BaseModel):
    label: str = Field(examples=["mel"])
    name: str = Field(examples=["melanoma"])


class Score(Class):
    probability: Share = Field(description="Calibrated", examples=[0.62])
    in_set: bool = Field(description="Is it in the conformal set?")
    always: bool = Field(
        description="Is it in every set, for the calibration had too few of its lesions?"
    )


class Times(BaseModel):
    """Where the time went, in seconds."""

    upload: Seconds
    decode: Seconds
    wait: Seconds = Field(description="In the queue")
    model: Seconds = Field(description="Of the batch that the picture was in")
    draw: Seconds


class Answer(Told):
    classes: list[Score] = Field(description="Most probable first")
    predicted: str = Field(examples=["mel"])
    alpha: Share = Field(
        description="The set misses the true class in about this share of a class's "
        "pictures, if they are of the kind that the model was calibrated on"
    )
    target: str = Field(description="The class that the map is about", examples=["mel"])
    method: str = Field(examples=["grad-cam"])
    layer: str = Field(examples=["deep"])
    valid: bool = Field(description="False where the map has nothing to point at")
    sentence: str = Field(description="Where the evidence for the target is, in words")
    familiar: bool | None = Field(description="Does the picture look like dermoscopy?")
    strangeness: float | None = Field(description="What that was judged by")
    warning: str | None = Field(description="To be shown with the answer")
    width: int = Field(description="Of the two pictures, in pixels")
    height: int
    heatmap: PNG = Field(description="In colours; the weaker the more transparent")
    overlay: PNG = Field(description="The picture under its heatmap")
    seconds: Times


class Model(BaseModel):
    backbone: str
    size: int = Field(description="Side of the square that the model sees")
    sha256: str = Field(description="Of the weights")


class Classes(Told):
    classes: list[Class]
    methods: list[str]
    layers: list[str]
    model: Model


class Health(Told):
    status: Literal["ok", "closing"]
    waiting: int = Field(ge=0, description="Requests inside")


PROBLEMS = {
    401: "The key is wrong or missing",
    408: "The upload took too long",
    413: "Too many bytes",
    415: "Not a picture of the kinds that are taken",
    422: "A damaged picture, too large or too small a one, or an unknown name",
    503: "Too many at once, or about to stop: come again after the seconds of Retry-After",
}


STOPPING = {"model": Health, "description": "It is about to stop"}


def problems(*numbers: int) -> dict:
    """For OpenAPI: what else a path may answer."""
    return {n: {"model": Problem, "description": PROBLEMS[n]} for n in numbers}


def told(engine: Engine, found: Found, shown: np.ndarray) -> dict:
    """An answer as the message has it, its two pictures drawn."""
    heatmap = viewing.fit(found.heatmap, shown)
    colours = heatmaps.coloured(heatmap)
    layer = np.dstack([colours, np.uint8(np.round(255 * heatmap))])
    order = np.argsort(-found.probs, kind="stable")
    known = engine.familiar and found.strangeness <= engine.familiar.cutoff
    warning = None if known else UNFAMILIAR
    return {
        "classes": [
            {
                "label": engine.classes[k],
                "name": name(engine.classes[k]),
                "probability": min(float(found.probs[k]), 1.0),
                "in_set": bool(found.chosen[k]),
                "always": bool(engine.always[k]),
            }
            for k in order
        ],
        "predicted": engine.classes[order[0]],
        "alpha": ALPHA,
        "target": engine.classes[found.target],
        "valid": found.valid,
        "sentence": sentence(engine, found, shown).text,
        "familiar": known,
        "strangeness": found.strangeness if engine.familiar else None,
        "warning": warning if engine.familiar else UNCHECKED,
        "width": shown.shape[1],
        "height": shown.shape[0],
        "heatmap": png(layer),
        "overlay": png(heatmaps.overlay(shown, heatmap)),
    }


def png(pixels: np.ndarray) -> str:
    """RGB or RGBA pixels as the data of a PNG, packed fast rather than small."""
    swap = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    data = cv2.imencode(".png", cv2.cvtColor(pixels, swap), FAST)[1]
    return "data:image/png;base64," + base64.b64encode(data).decode()


def name(label: str) -> str:
    return figures.NAMES.get(label, label)

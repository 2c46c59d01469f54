"""Cases to leaf through without a kernel: the report's *Case explorer* (made in 08).

Each case is one small script, so that the page can fetch it from a disk as from a server:
its picture, all its maps with what each scores and says, its truth and its captions.
"""

import numpy as np
import pandas as pd
from tqdm import tqdm

from . import (
    cam,
    captions,
    compact,
    datasets,
    engine,
    figures,
    heatmaps,
    images,
    localisation,
    sentences,
    slots,
    synthetic,
    toggles,
    trained,
    viewing,
)
from .files import atomic, below_out
from .settings import Settings, watched

LAYERS = ("deep", "middle", "early")
WIDE, SIDE, SMALL = 400, 40, 88  # pixels across: a picture, its maps, a thumbnail
READ = 200  # of the picture that sentences are made of
SPOT = ("a spot in the middle",)
RULERS = {
    "pointing": localisation.pointing,
    "AUPRC": localisation.precision,
    "IoU, as large": localisation.as_large,
}


def choose(answers: pd.DataFrame, most: int = 56) -> pd.DataFrame:
    """Test cases by rule: of each true class the surest, the least sure, some between.

    One picture a lesion, the first by name; of each class as many right as wrong answers
    where there are as many, evenly spread from the surest to the least sure.
    """
    test = answers[answers.split == "test"].sort_values("image_id")
    test = test.drop_duplicates("group")
    each = max(1, most // (2 * test.label.nunique()))
    found = []
    for _, some in test.groupby(["label", test.predicted != test.label]):
        turn = some.sort_values("p", ascending=False, kind="stable")
        places = np.linspace(0, len(turn) - 1, min(each, len(turn))).round().astype(int)
        found.append(turn.iloc[places])
    return pd.concat(found)


def write(run: trained.Trained, chosen: pd.DataFrame, cfg: Settings) -> int:
    """Writes the chosen cases (rows of `run.answers`) for the page; returns their bytes."""
    ready, rows = engine.load(run.folder, cfg.device), run.cases.loc[chosen.index]
    pixels = images.load(run.cases, run.model.size)[chosen.index]
    answers = engine.answers(ready, pixels, [engine.Asked()] * len(rows))
    maps = cam.of_pixels(run.model, pixels, [*cam.FORMULAS], LAYERS, run.classes)
    maps |= cam.of_pixels(run.model, pixels, ["cam"], ["deep"], run.classes)
    truths, told = _truths(rows, cfg, run.model.size), _captions(run, chosen, cfg)
    scores = _scores(maps, truths, pixels)
    folder, listed = below_out("results", "explorer", "index.js").parent, []
    for old in folder.glob("*.js"):
        old.unlink()
    bar = tqdm(chosen.itertuples(), "explorer", len(chosen), disable=not watched())
    for at, row in enumerate(bar):
        shown = figures.thumbnail(row.path, WIDE)
        case = {"id": row.image_id, "truth": row.label, "predicted": row.predicted}
        small = figures.picture(figures.narrow(shown, SMALL))
        told_here = {
            "p": round(float(row.p), 3),
            "file": f"{at:02d}.js",
            "thumb": small,
        }
        listed.append(case | told_here)
        case["classes"] = _classes(ready, answers[at])
        case["captions"] = {name: texts[at] for name, texts in told.items()}
        case |= _maps(case, maps, at, shown, truths, scores)
        _script(folder / f"{at:02d}.js", f"explorer.take({toggles.inline(case)})")
    about = {
        "names": {c: figures.NAMES.get(c, c) for c in run.classes},
        "cases": listed,
    }
    _script(folder / "index.js", f"window.explorerIndex = {toggles.inline(about)}")
    return sum(path.stat().st_size for path in folder.iterdir())


def _classes(ready: engine.Engine, answer: engine.Answer) -> list[dict]:
    """Every class, surest first: its calibrated probability, and is it in the set?"""
    order = np.argsort(-answer.probs, kind="stable")
    return [
        {
            "label": ready.classes[i],
            "p": round(float(answer.probs[i]), 4),
            "in_set": bool(answer.chosen[i]),
            "always": bool(ready.always[i]),
        }
        for i in order
    ]


def _maps(case: dict, maps: dict, at: int, shown, truths, scores) -> dict:
    """All maps of a case for the switches, with what each says and scores.

    The class that the model says comes first, then the others, surest first.
    """
    p = {one["label"]: one["p"] for one in case["classes"]}
    places = {label: place for place, label in enumerate(p)}
    keys = sorted(maps, key=lambda key: places[key[2]])  # else as they came
    large = {k: viewing.fit(maps[k].heatmap[at], shown) for k in keys}
    named = {(cam.TITLES[m], layer, c): large[m, layer, c] for m, layer, c in keys}
    valid = {n: bool(maps[k].valid[at]) for n, k in zip(named, keys, strict=True)}
    grounds = {
        f"{name} outlined": figures.outlined(shown, viewing.fit(m[at], shown) > 0.5)
        for name, m in truths.items()
        if m[at].any()
    }
    name = figures.NAMES.get(case["truth"], case["truth"])
    alt, axes = f"{case['id']}, a picture of {name}", ("method", "layer", "class")
    data = toggles.content(shown, named, axes, alt, valid, grounds, SIDE)
    read = figures.narrow(shown, READ)
    says = [
        sentences.of_evidence(read, viewing.fit(large[k], read), k[2], p[k[2]]).text
        for k in keys
    ]
    blank = toggles.still([heatmaps.panel(shown, alt)])
    return {
        "data": data,
        "html": figures.figure(blank, "", marks=toggles.marks(data)),
        "says": says,
        "scores": {
            truth: {
                ruler: [_rounded(found[k][at]) for k in (*keys, SPOT)]
                for ruler, found in rulers.items()
            }
            for truth, rulers in scores.items()
            if truths[truth][at].any()
        },
    }


def _scores(maps: dict, truths: dict[str, np.ndarray], pixels: np.ndarray) -> dict:
    """By truth, ruler and map: N scores, those of a spot in the middle too."""
    second = np.s_[:, ::2, ::2]  # every second pixel will do, as in notebook 06
    heats = {key: found.heatmap[second] for key, found in maps.items()}
    heats[SPOT] = localisation.blind(pixels[second])["centred Gaussian"]
    return {
        name: {
            ruler: {key: f(heat, masks[second]) for key, heat in heats.items()}
            for ruler, f in RULERS.items()
        }
        for name, masks in truths.items()
    }


def _truths(rows: pd.DataFrame, cfg: Settings, size: int) -> dict[str, np.ndarray]:
    """Masks (N×H×W) by what they mark: the lesion, and evidence where it is planted."""
    paths = {"lesion": rows.get("mask_path", pd.Series(None, rows.index))}
    if cfg.dataset == "synthetic":
        folder = datasets.folder_of(cfg.dataset, cfg.profile, cfg.seed)
        planted = synthetic.truth(folder).set_index("image_id").evidence_path
        paths["planted evidence"] = rows.image_id.map(planted)
    found = {}
    for name, known in paths.items():
        there = known.notna().to_numpy()
        if there.any():
            found[name] = np.zeros((len(rows), size, size), bool)
            some = rows.assign(mask_path=known)[there]
            found[name][there] = images.load_masks(some, size)
    return found


def _captions(run, chosen: pd.DataFrame, cfg: Settings) -> dict[str, list[str]]:
    """What notebook 05's captioner writes of the cases, and what is true of them."""
    if cfg.dataset == "synthetic":
        folder = datasets.folder_of(cfg.dataset, cfg.profile, cfg.seed)
        truth = synthetic.truth(folder).set_index("image_id")
        known = list(truth.caption.loc[run.cases.image_id])
    elif cfg.dataset == "ph2":
        known = list(map(captions.of_slots, slots.of_ph2(run.cases).to_dict("records")))
    else:
        return {}
    speaker = compact.ensure(run, known, cfg)
    pictures = [figures.thumbnail(path, 240) for path in chosen.path]
    return {
        "the captioner writes": captions.ask(speaker, pictures, ""),
        "the truth is": [known[i] for i in chosen.index],
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 2)


def _script(path, text: str) -> None:
    with atomic(path) as part:
        part.write_text(text + "\n", encoding="utf-8")

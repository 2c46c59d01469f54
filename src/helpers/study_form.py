"""The form of a study of trust, one case at a time (used in 06).

The picture alone, the reader's own decision; then the AI's answer, with its heatmap in
one arm, and the final decision. Nothing is preset: a slider's start would be an answer
that nobody gave. The kernel takes the time. Core widgets, as in `widgets`.
"""

from collections.abc import Mapping
from html import escape
from time import perf_counter

import ipywidgets
import numpy as np
import pandas as pd

from . import figures, heatmaps, study, viewing, widgets
from .settings import CourseError

WIDTH = 420  # pixels across
LOW, HIGH = study.SCALE
NOTE = (
    "<b>A study of trust. Not for diagnosis.</b> Give no name and no personal data: you "
    "are the number that you were given. The AI may be wrong. Every answer is kept at "
    "once; you may stop, and go on later where you were. By keyboard: Tab and Space."
)
AGAIN = "give an answer to each question first"


def form(
    cases: pd.DataFrame,
    pictures: Mapping[str, np.ndarray],
    maps: Mapping[str, np.ndarray],
    classes,
    participant: int = 1,
    name: str = "answers",
) -> ipywidgets.VBox:
    """The form for a plan's cases, at the first that this reader has not answered.

    By image_id: pictures (H×W×3 uint8), and maps (H×W in [0, 1]) of the AI's answer.
    Answers go to `study.place(name)`.
    """
    _check(cases, pictures, maps, classes)
    path, now = study.place(name), {}
    number = ipywidgets.BoundedIntText(participant, min=1, max=9999)
    number.description = "reader no."
    names = [(figures.NAMES.get(one, one), one) for one in classes]
    first, final = _radio(names, "your decision"), _radio(names, "final decision")
    trust = _scale("I trust this answer of the AI")
    sure = _scale("I am sure of my final decision")
    button = ipywidgets.Button(button_style="primary", layout={"width": "max-content"})
    top, shown, alert = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
    after = ipywidgets.VBox([final, trust, sure])
    questions = (first, final, trust, sure)

    def ask() -> None:
        """Shows the next case, without the AI's answer."""
        rest = study.remaining(cases, number.value, path)
        now.clear()
        for question in questions:
            question.value = None
        first.disabled, after.layout.display, alert.value = False, "none", ""
        visible = None if len(rest) else "none"
        first.layout.display = button.layout.display = visible
        if rest.empty:
            top.value = f"<p>All {len(cases)} cases are answered: thank you.</p>"
            shown.value = f"<p>The answers are in study/{escape(path.name)}.</p>"
            return
        case = next(rest.itertuples())
        top.value = f"<p>Case {case.position} of {len(cases)}</p>"
        shown.value = view(case, pictures[case.image_id])
        button.description = "Keep my decision, show the AI's answer"
        now.update(case=case, since=perf_counter())

    def reveal() -> None:
        """Shows the AI's answer; the first decision stands."""
        case = now["case"]
        now["seconds_first"] = perf_counter() - now["since"]
        shown.value = view(case, pictures[case.image_id], maps.get(case.image_id), True)
        first.disabled, after.layout.display = True, None
        button.description = "Keep, and go on"
        now["since"] = perf_counter()

    def keep() -> None:
        case, seconds = now["case"], perf_counter() - now["since"]
        given = {"first": first.value, "final": final.value}
        given |= {"trust": trust.value, "confidence": sure.value}
        given |= {"seconds_first": _seconds(now["seconds_first"])}
        of = {"image_id": case.image_id, "arm": case.arm, "label": case.label}
        of |= {"position": case.position, "ai": case.answer, "ai_right": case.right}
        answer = study.Answer(number.value, **of, **given, seconds=_seconds(seconds))
        study.keep(answer, path)
        ask()

    def go(*_) -> None:
        shows = "seconds_first" in now
        asked = questions[1:] if shows else questions[:1]
        try:
            if any(question.value is None for question in asked):
                raise CourseError(AGAIN)
            alert.value = ""
            (keep if shows else reveal)()
        except CourseError as error:
            alert.value = widgets.told(error)

    def other_reader(*_) -> None:
        try:
            ask()
        except CourseError as error:
            alert.value = widgets.told(error)

    button.on_click(go)
    number.observe(other_reader, "value")
    ask()
    note = ipywidgets.HTML(f'<p style="max-width:40rem">{NOTE}</p>')
    return ipywidgets.VBox([note, number, top, shown, first, after, alert, button])


def view(case, picture: np.ndarray, heatmap=None, told: bool = False) -> str:
    """A case as the form shows it: alone; or told, with the map in its arm."""
    image = figures.narrow(picture, WIDTH)
    alone = f"case {case.position}"
    panels, says = [heatmaps.panel(image, f"picture of {alone}", "picture")], ""
    if told:
        answer = figures.NAMES.get(case.answer, case.answer)
        says = f"<p>The AI says: <b>{escape(answer)}</b> (p = {case.p:.2f})</p>"
    if told and case.arm == study.ARMS[1]:
        over = heatmaps.overlay(image, viewing.fit(heatmap, image))
        words = f"where this model's evidence for {answer} is"
        full = bool(np.any(heatmap))
        panels.append(heatmaps.panel(over, f"{alone}: {words}", words, full))
        says += heatmaps.colour_bar()
    grid = heatmaps.grid(panels, f"repeat({len(panels)},minmax(0,1fr))")
    wide = len(panels) * WIDTH
    return f'<div role="status" style="max-width:{wide}px">{grid}{says}</div>'


def _radio(names: list[tuple[str, str]], description: str) -> ipywidgets.RadioButtons:
    radio = ipywidgets.RadioButtons(options=names, value=None, description=description)
    radio.layout.width = "max-content"
    return radio


def _scale(statement: str) -> ipywidgets.ToggleButtons:
    """Seven buttons, from not at all to completely; none is pressed."""
    words = f"{statement}: {LOW} not at all … {HIGH} completely"
    points = list(range(LOW, HIGH + 1))
    options = [(str(point), point) for point in points]
    scale = ipywidgets.ToggleButtons(options=options, value=None, description=words)
    scale.style.description_width, scale.style.button_width = "initial", "2.4em"
    return scale


def _seconds(seconds: float) -> float:
    low, high = study.SECONDS
    return round(min(max(seconds, low), high), 2)


def _check(cases: pd.DataFrame, pictures, maps, classes) -> None:
    """Refuses a plan that the form could not show to its end."""
    for ids, what in ((pictures, "picture"), (maps, "map")):
        if lost := [one for one in cases.image_id if one not in ids]:
            raise CourseError(
                f"no {what} of {lost[0]} ({len(lost)} of {len(cases)} cases): give one "
                "for each image_id of the plan"
            )
    strange = (set(cases.label) | set(cases.answer)) - set(classes)
    if strange:
        raise CourseError(
            f"the plan has {', '.join(sorted(strange))}, which is none of the classes "
            "to choose from: give all classes of the model"
        )

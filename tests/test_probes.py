"""A head learnt from frozen features: it answers as scikit-learn does, and as a network."""

import numpy as np
import pytest
from errors import refused
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tiny import install

from helpers import models, probes


@pytest.fixture
def eyes(monkeypatch):
    install(monkeypatch)
    return models.build("tiny_net", ["bkl", "mel", "nv"], 32)


@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2), (1, 2)])
def test_it_answers_as_the_library_does(eyes, classes):
    rng = np.random.default_rng(0)
    width = eyes.head.linear.in_features
    inputs, y = rng.normal(2, 3, (90, width)), rng.choice(classes, 90)
    inputs[y == classes[-1]] += 1
    net = probes.taught(eyes, inputs, y)
    scale = StandardScaler().fit(inputs)
    fit = LogisticRegression(C=0.01, max_iter=300, class_weight="balanced")
    fit.fit(scale.transform(inputs), y)
    fresh = rng.normal(2, 3, (50, width))
    said = probes.answers(net, fresh)
    assert (said == fit.predict(scale.transform(fresh))).mean() > 0.97
    assert set(said) <= set(classes) and len(set(said)) > 1


def test_the_network_with_the_head_says_the_same(eyes):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    seen, y = models.features(eyes, pixels), rng.integers(0, 3, 40)
    before = {k: v.clone() for k, v in eyes.state_dict().items()}
    net = probes.taught(eyes, seen, y, C=1.0)
    said = models.logits(net, pixels).argmax(1)
    assert (said == probes.answers(net, seen)).all() and len(set(said)) > 1
    for name, weight in eyes.state_dict().items():
        assert (weight == before[name]).all(), (
            "the eyes that were given stay as they are"
        )


def test_bad_lessons_are_refused(eyes):
    inputs = np.zeros((4, eyes.head.linear.in_features))
    refused(lambda: probes.taught(eyes, inputs, np.zeros(3, int)), "one label each")
    refused(lambda: probes.taught(eyes, inputs, np.zeros(4, int)), "two classes")

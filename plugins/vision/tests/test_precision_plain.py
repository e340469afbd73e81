"""COCO's precision, written out once more from its definition, on pictures drawn by chance."""

import numpy as np
import pytest
from fewbits_vision.boxes import Candidates
from fewbits_vision.precision import THRESHOLDS, average_precision
from hypothesis import given, settings
from hypothesis import strategies as st

LIMIT = 6


def overlap(one, other, is_crowd):
    wide = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
    tall = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
    own, their = ((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    return wide * tall / (own if is_crowd else own + their - wide * tall)


def matched(truth, found, kind, threshold):
    """Return (score, hit) of each box of a class in one picture that counts, best first."""
    corners, classes, crowd = truth
    there = [(c, g) for c, k, g in zip(corners, classes, crowd, strict=True) if k == kind]
    rows = [r for r in np.argsort(-found.scores, kind="stable") if found.classes[r] == kind]
    taken, judged = set(), []
    for row in rows[:LIMIT]:
        own, best, chosen = found.corners[row], threshold, None
        for place, (box, is_crowd) in enumerate(there):
            if not is_crowd and place not in taken and overlap(own, box, False) >= best:
                best, chosen = overlap(own, box, False), place
        if chosen is not None:
            taken.add(chosen)
            judged.append((found.scores[row], True))
        elif not any(g and overlap(own, box, True) >= threshold for box, g in there):
            judged.append((found.scores[row], False))
    return judged


def plain(wanted, found, threshold):
    means = []
    for kind in range(3):
        count = sum(((t[1] == kind) & ~t[2]).sum() for t in wanted)
        if not count:
            continue
        pairs = zip(wanted, found, strict=True)
        judged = [each for t, f in pairs for each in matched(t, f, kind, threshold)]
        judged.sort(key=lambda j: -j[0])
        hits = np.cumsum([hit for _, hit in judged]) if judged else np.zeros(0)
        precision = hits / np.arange(1, len(hits) + 1)
        recall = hits / count
        at = np.linspace(0, 1, 101)
        means.append(np.mean([precision[recall >= r].max(initial=0) for r in at]))
    return np.mean(means) if means else np.nan


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_faster_coco_eval_computes_cocos_definition(seed):
    rng = np.random.default_rng(seed)
    wanted, found = [], []
    for _ in range(4):
        start = rng.uniform(0, 20, (4, 2))
        corners = np.concatenate([start, start + rng.uniform(4, 20, (4, 2))], axis=1)
        classes = rng.integers(0, 3, 4)
        wanted.append((corners, classes, rng.random(4) < 0.15))
        near = corners + rng.normal(0, 1.5, (4, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 0.1)
        boxes = np.concatenate([near, near + rng.uniform(0, 3, (4, 1))])
        kinds = np.concatenate([classes, rng.integers(0, 3, 4)])
        found.append(Candidates(boxes, rng.permutation(8) / 8 + rng.random() / 100, kinds))
    given_by_it = average_precision(wanted, found, LIMIT)
    by_hand = [plain(wanted, found, threshold) for threshold in THRESHOLDS]
    assert given_by_it == pytest.approx(by_hand, abs=1e-6, nan_ok=True)

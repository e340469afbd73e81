"""Overlaps and suppression against closed forms and a plain second implementation."""

import numpy as np
import pytest
from fewbits_vision.boxes import Candidates, best_of, corners_of, overlap, suppressed
from hypothesis import given, settings
from hypothesis import strategies as st


def plain_overlap(one, other):
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    common = wide * tall if wide > 0 and tall > 0 else 0.0
    union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)) - common
    return common / union if union else 0.0


def plain_suppression(corners, scores, iou):
    """Ask of each box, best first, whether any box that is kept already forbids it."""
    kept = []
    for row in sorted(range(len(scores)), key=lambda r: (-scores[r], r)):
        if all(plain_overlap(corners[k], corners[row]) <= iou for k in kept):
            kept.append(row)
    return kept


@st.composite
def some_boxes(draw):
    count = draw(st.integers(0, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    start = rng.integers(0, 6, (count, 2))
    corners = np.concatenate([start, start + rng.integers(0, 6, (count, 2))], axis=1).astype(float)
    return Candidates(corners, rng.integers(0, 5, count) / 4, rng.integers(0, 3, count))


def test_overlap_of_known_boxes():
    others = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [5, 5, 6, 6], [0, 0, 4, 4]], float)
    assert overlap(np.array([0.0, 0, 2, 2]), others) == pytest.approx([1, 1 / 7, 0, 0, 0.25])


@given(some_boxes(), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
@settings(deadline=None, max_examples=60)
def test_suppression_is_the_plain_one(found, iou):
    kept = suppressed(found.corners, found.scores, iou)
    assert kept.tolist() == plain_suppression(found.corners, found.scores, iou)


@given(some_boxes(), st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_classes_do_not_suppress_each_other(found, limit):
    kept = best_of(found, 0.4, limit)
    wanted = []
    for kind in range(3):
        rows = np.flatnonzero(found.classes == kind)
        own = plain_suppression(found.corners[rows], found.scores[rows], 0.4)
        wanted += [rows[k] for k in own]
    wanted = sorted(wanted, key=lambda r: (-found.scores[r], r))[:limit]
    assert np.array_equal(kept.corners, found.corners[wanted])
    assert np.array_equal(kept.classes, found.classes[wanted])


def test_an_overlap_of_one_keeps_copies():
    twice = Candidates(np.array([[0.0, 0, 1, 1]] * 2), np.array([0.5, 0.6]), np.array([1, 1]))
    assert best_of(twice, 1.0, 9).scores.tolist() == [0.6, 0.5]
    assert best_of(twice, 0.99, 9).scores.tolist() == [0.6]


def test_corners_of_centres_keep_area():
    (box,) = corners_of(np.array([[10.0, 20, 6, 4]]))
    assert box.tolist() == [7, 18, 13, 22]

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fewbits.builtin.evaluators import Classification, ClassificationOptions, Fidelity
from fewbits.errors import DataError, RecipeError
from fewbits.metrics import SNR_LIMIT_DB, cosine, label_ranks, snr_db
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(size=(40, 10)).astype(np.float32)
OUTPUTS = REFERENCE + RNG.normal(scale=0.3, size=(40, 10)).astype(np.float32)
LABELS = RNG.integers(0, 10, 40)


def fidelity(outputs, reference):
    total = Fidelity().accumulator()
    total.update(outputs, None, reference)
    return total.result()


def classify(scores, labels, **options):
    total = Classification(ClassificationOptions(**options)).accumulator()
    outputs = scores if isinstance(scores, dict) else {"y": scores}
    total.update(outputs, np.asarray(labels), None)
    return total.result()


def test_snr_of_noise_of_known_power():
    reference = np.full((3, 100), 2.0)
    for decibels in (0, 20, 60):
        noisy = reference + 2.0 / 10 ** (decibels / 20)
        assert snr_db(reference, noisy) == pytest.approx([decibels] * 3)


def test_snr_is_computed_in_float64():
    reference = np.full((1, 4), 1e30, np.float32)
    noisy = reference * np.float32(1.1)
    assert snr_db(reference, noisy) == pytest.approx([20], abs=1e-4)


def test_snr_has_limits_instead_of_infinities():
    something, nothing = np.ones((1, 3)), np.zeros((1, 3))
    assert snr_db(something, something) == SNR_LIMIT_DB
    assert snr_db(nothing, nothing) == SNR_LIMIT_DB
    assert snr_db(nothing, something) == -SNR_LIMIT_DB
    assert np.isnan(snr_db(something, something * np.nan)).all()


def test_cosine_is_the_angles():
    angle = np.linspace(0, np.pi, 7)
    turned = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 5
    assert cosine(np.tile([2.0, 0.0], (7, 1)), turned) == pytest.approx(np.cos(angle), abs=1e-12)
    assert cosine(np.zeros((1, 2)), np.ones((1, 2))) == 0


@given(
    hnp.arrays(np.float32, (6, 7), elements=st.integers(-3, 3)),
    hnp.arrays(np.int64, 6, elements=st.integers(0, 6)),
)
def test_ranks_are_places_in_a_stable_sort(scores, labels):
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = [list(row).index(label) for row, label in zip(order, labels, strict=True)]
    assert label_ranks(scores, labels).tolist() == expected


def test_scores_that_are_no_numbers_are_never_right():
    scores = np.array([[np.nan, 1.0], [1.0, np.nan]])
    assert label_ranks(scores, np.array([0, 0])).tolist() == [2, 2]


@pytest.mark.skipif(not (SHARED / "peers" / "judge.py").exists(), reason="needs ../shared")
def test_both_agree_with_an_independent_judge(monkeypatch):
    monkeypatch.syspath_prepend(str(SHARED / "peers"))
    judge = pytest.importorskip("judge")
    monkeypatch.delitem(sys.modules, "judge")
    expected = judge.score(REFERENCE, OUTPUTS, LABELS)
    close = fidelity({"y": OUTPUTS}, {"y": REFERENCE})
    right, float_right = classify(OUTPUTS, LABELS), classify(REFERENCE, LABELS)
    assert close["snr_db"] == pytest.approx(expected["snr_db"], abs=0.0051)
    assert close["snr_min_db"] == pytest.approx(expected["snr_min_db"], abs=0.0051)
    assert close["agreement"] == pytest.approx(expected["agree"], abs=0.0051)
    assert right["top1"] == pytest.approx(expected["top1"], abs=0.0051)
    assert float_right["top1"] == pytest.approx(expected["float_top1"], abs=0.0051)


@pytest.mark.parametrize("shape", [(40, 10), (40, 10, 1, 1), (40, 1, 10)])
def test_agreement_counts_the_same_highest_class(shape):
    flipped = REFERENCE.copy()
    flipped[:10] *= -1
    metrics = fidelity({"y": flipped.reshape(shape)}, {"y": REFERENCE.reshape(shape)})
    assert metrics["agreement"] == 75
    assert metrics["cosine"] == pytest.approx(0.5)
    assert metrics["snr_min_db"] == pytest.approx(10 * np.log10(0.25))


@pytest.mark.parametrize("shape", [(4, 10, 10), (400, 1), (400,)])
def test_agreement_is_left_out_where_there_are_no_classes(shape):
    metrics = fidelity({"y": OUTPUTS.reshape(shape)}, {"y": REFERENCE.reshape(shape)})
    assert set(metrics) == {"snr_db", "snr_min_db", "cosine"}


def test_several_outputs_are_named_and_summed_up():
    metrics = fidelity(
        {"a": np.full((2, 4), 1.1), "b": np.full((2, 4, 4), 1.01)},
        {"a": np.ones((2, 4)), "b": np.ones((2, 4, 4))},
    )
    assert metrics["a.snr_db"] == pytest.approx(20)
    assert metrics["b.snr_db"] == pytest.approx(40)
    assert metrics["snr_db"] == pytest.approx(30)
    assert metrics["snr_min_db"] == pytest.approx(20)
    assert metrics["agreement"] == metrics["a.agreement"] == 100
    assert "b.agreement" not in metrics


def test_nothing_seen_is_not_a_number():
    assert np.isnan(list(Fidelity().accumulator().result().values())).all()
    assert np.isnan(Classification().accumulator().result()["top1"])


@given(st.lists(st.integers(1, 39), max_size=4), st.booleans())
def test_merged_parts_equal_the_whole(cuts, two_outputs):
    outputs, reference = {"y": OUTPUTS}, {"y": REFERENCE}
    if two_outputs:
        outputs, reference = {**outputs, "z": OUTPUTS * 2}, {**reference, "z": REFERENCE}
    bounds = [0, *sorted(set(cuts)), 40]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    for evaluator in (Fidelity(), Classification(ClassificationOptions(output="y"))):
        whole, merged = evaluator.accumulator(), evaluator.accumulator()
        whole.update(outputs, LABELS, reference)
        for part in parts:
            piece = evaluator.accumulator()
            piece.update(
                {name: x[part] for name, x in outputs.items()},
                LABELS[part],
                {name: x[part] for name, x in reference.items()},
            )
            merged.merge(piece)
        assert merged.result() == pytest.approx(whole.result(), rel=1e-12)


def test_merging_with_nothing_changes_nothing():
    for evaluator in (Fidelity(), Classification()):
        total = evaluator.accumulator()
        total.update({"y": OUTPUTS}, LABELS, {"y": REFERENCE})
        before = total.result()
        total.merge(evaluator.accumulator())
        assert total.result() == before


def test_top1_and_top5_count_places():
    scores = np.tile(np.arange(8.0), (4, 1))
    assert classify(scores, [7, 6, 3, 2]) == {"top1": 25, "top5": 75}


def test_top5_needs_more_than_five_classes():
    assert set(classify(np.eye(5), np.arange(5))) == {"top1"}
    assert set(classify(np.eye(6), np.arange(6))) == {"top1", "top5"}


def test_label_offset_moves_labels_to_classes():
    assert classify(np.eye(6)[1:], np.arange(5), label_offset=1)["top1"] == 100
    assert classify(np.eye(6), np.arange(1, 7), label_offset=-1)["top1"] == 100


@pytest.mark.parametrize("labels", [[0, 6], [0, -1]])
def test_a_label_that_is_no_class_is_named_with_the_remedy(labels):
    with pytest.raises(DataError, match=f"Class {labels[1]} .* 6 classes") as caught:
        classify(np.eye(6)[:2], labels)
    assert "label_offset" in caught.value.hint


def test_labels_must_match_the_samples():
    total = Classification().accumulator()
    with pytest.raises(DataError, match="each of 6 samples; there are none"):
        total.update({"y": np.eye(6)}, None, None)
    with pytest.raises(DataError, match="there are 2"):
        total.update({"y": np.eye(6)}, np.zeros(2, np.int64), None)


def test_the_output_with_the_scores_is_chosen_by_name():
    outputs = {"boxes": np.zeros((6, 3, 3)), "scores": np.eye(6)}
    assert classify(outputs, np.arange(6), output="scores")["top1"] == 100
    with pytest.raises(RecipeError, match="2 outputs") as caught:
        classify(outputs, np.arange(6))
    assert "boxes, scores" in caught.value.hint
    with pytest.raises(RecipeError, match="no output 'score'") as caught:
        classify(outputs, np.arange(6), output="score")
    assert "'scores'" in caught.value.hint
    with pytest.raises(DataError, match="does not hold one score a class"):
        classify(outputs, np.arange(6), output="boxes")


def test_fidelity_needs_a_reference_of_the_same_shape():
    for reference in (None, {}, {"y": REFERENCE[:, :5]}):
        with pytest.raises(DataError, match="float model"):
            fidelity({"y": OUTPUTS}, reference)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1, 1)])
def test_a_network_that_gives_the_class_itself_has_a_top1_and_an_agreement(shape):
    found = np.array([3, 0, 2, 1]).reshape(shape)
    labels = np.array([2, 0, 1, 1])
    assert classify(found, labels) == {"top1": 50.0}
    assert classify(found, labels - 5, label_offset=5) == {"top1": 50.0}
    assert fidelity({"y": found}, {"y": labels.reshape(shape)})["agreement"] == 50.0
    with pytest.raises(DataError, match="label for each of 4"):
        classify(found, labels[:3])

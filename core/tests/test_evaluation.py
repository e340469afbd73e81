import json

import numpy as np
import onnx_ir as ir
import pytest
from fewbits.builtin.evaluators import Classification, Fidelity
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, UsageError
from fewbits.evaluation import Evaluation, evaluate
from fewbits.interfaces import Runnable
from fewbits.model import Model, Stage

DOUBLE = (
    '<ir_version: 9, opset_import: ["" : 17]>'
    "double (float[N, 6] x) => (float[N, 6] y) { y = Add(x, x) }"
)
INPUTS = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
LABELS = INPUTS.argmax(axis=1)


class Scaled(Runnable):
    """Gives the inputs times a factor and remembers the sizes of the batches."""

    def __init__(self, factor):
        self.factor = factor
        self.sizes = []

    def run(self, inputs):
        self.sizes.append(len(inputs["x"]))
        return {"y": inputs["x"] * np.float32(self.factor)}


@pytest.fixture
def model():
    return Model("double", ir.from_onnx_text(DOUBLE))


def data(*, labels=LABELS):
    return ArrayDataset({"x": INPUTS}, labels)


def test_compares_the_runnable_with_the_float_network(model):
    result = evaluate(model, data(), [Fidelity()], runnable=Scaled(2.2), batch_size=4)
    assert result.metrics["fidelity"]["snr_db"] == pytest.approx(20, abs=1e-3)
    assert result.metrics["fidelity"]["agreement"] == 100
    assert result.images == 10
    assert result.reference_seconds > 0
    assert result.headlines == {"fidelity": "snr_db"}


def test_without_a_runnable_the_float_network_itself_is_measured(model):
    result = evaluate(model, data(), [Fidelity(), Classification()])
    assert result.metrics["fidelity"]["snr_db"] == 140
    assert result.metrics["classification"]["top1"] == 100


def test_the_reference_is_the_network_as_parsed_and_not_a_later_stage(model):
    changed = Model("other", ir.from_onnx_text(DOUBLE.replace("Add", "Sub")))
    later = model.advance(Stage.OPTIMIZED).replace(network=changed.network)
    result = evaluate(later, data(), [Fidelity()], runnable=Scaled(2))
    assert result.metrics["fidelity"]["snr_db"] == 140


def test_the_reference_has_metrics_of_its_own(model):
    wrong = Scaled(-1)
    result = evaluate(model, data(), [Fidelity(), Classification()], runnable=wrong)
    assert result.metrics["classification"]["top1"] == 0
    assert result.reference_metrics == {"classification": {"top1": 100, "top5": 100}}


def test_a_reference_runs_only_where_it_is_needed_or_given(model):
    alone = evaluate(model, data(), [Classification()], runnable=Scaled(1))
    assert alone.reference_seconds is None
    assert alone.reference_images_per_second is None
    assert alone.reference_metrics == {}
    given = Scaled(1)
    beside = evaluate(model, data(), [Classification()], runnable=Scaled(1), reference=given)
    assert given.sizes == [10]
    assert beside.reference_images_per_second > 0


@pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 2]), (32, [10]), (1, [1] * 10)])
def test_every_sample_runs_once(model, size, sizes):
    subject, reference = Scaled(1), Scaled(1)
    evaluate(model, data(), [Fidelity()], runnable=subject, reference=reference, batch_size=size)
    assert subject.sizes == reference.sizes == sizes


def test_progress_counts_images(model):
    seen = []
    evaluate(
        model,
        data(),
        [Fidelity()],
        batch_size=4,
        progress=lambda *told: seen.append(told),
    )
    assert [done for _, done, _, _ in seen] == [0, 4, 8, 10]
    assert {(label, total, unit) for label, _, total, unit in seen} == {("evaluate", 10, "images")}


def test_labels_that_are_needed_and_absent_are_an_error_before_anything_runs(model):
    subject = Scaled(1)
    with pytest.raises(DataError, match="classification needs labels") as caught:
        evaluate(model, data(labels=None), [Classification()], runnable=subject)
    assert subject.sizes == []
    assert "labels.csv" in caught.value.hint


def test_no_samples_and_no_evaluators_are_errors(model):
    with pytest.raises(DataError, match="no samples"):
        evaluate(model, data().select([]), [Fidelity()])
    for evaluators in ([], [Fidelity(), Fidelity()]):
        with pytest.raises(UsageError, match="Evaluators are"):
            evaluate(model, data(), evaluators)


def test_the_result_is_strict_json(model):
    result = evaluate(model, data(), [Fidelity(), Classification()], runnable=Scaled(np.nan))
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["metrics"]["fidelity"]["snr_db"] is None
    assert told["metrics"]["classification"]["top1"] == 0
    assert told["images"] == 10
    assert told["data"]["digest"] == data().describe()["digest"]
    assert told["units"]["fidelity"]["snr_db"] == "dB"


def test_speeds_are_of_each_run_alone():
    result = Evaluation({}, 100, 2.0, {}, 4.0)
    assert result.images_per_second == 50
    assert result.reference_images_per_second == 25

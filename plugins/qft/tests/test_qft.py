"""Training as a whole: it helps, it is honest, it goes on, it works in company."""

import os
import subprocess
import sys
from pathlib import Path

import fewbits
import numpy as np
import pytest
from fewbits import archive
from fewbits.builtin.cpu import CpuTarget
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, PluginError, RecipeError, UsageError
from fewbits.interfaces import Context
from fewbits.model import Stage
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.net import Net

torch = pytest.importorskip("torch")

from fewbits.trainable.network import QuantizedNetwork  # noqa: E402
from fewbits_qft.algorithm import Qft, QftOptions  # noqa: E402
from fewbits_qft.trainer import Trainer, weights_of  # noqa: E402

SMALL = {"dataset_size": 32, "batch_size": 8, "val_images": 8, "augment": []}
BRISK = {"epochs": 6, "dataset_size": 128, "learning_rate": 0.01, "scale_learning_rate": 0.001}
ROUGH = "bias_correction=false,weight_range=minmax,activation_range=minmax"


def quantized(name="conv_chain", mode="a8_w4", count=48):
    return with_data(toys.TOYS[name](), mode, count)


def with_data(model, mode="a8_w4", count=48, more=""):
    data = ArrayDataset(next(iter(toys.calibration(model, count).batches(count))).inputs)
    return fewbits.optimize(
        model, calibration=data, recipe=[f"quantize:precision={mode}{more}"]
    ), data


def wide():
    """A network with more weights than its outputs need: they can make up for each other."""
    net = Net("wide")
    x = net.op("Relu", net.conv(net.input("image", 1, 4, 4), 1, 64))
    x = net.op("Relu", net.conv(x, 64, 64, 1))
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x))
    net.output(net.gemm(pooled, 64, 2), 2)
    return net.build()


def run(model, data, work=None, **options):
    rng = np.random.default_rng(0)
    context = Context(CpuTarget(), data, rng=rng, work=work)
    return Qft(QftOptions(**(SMALL | options))).apply(model, context)


def snr(model, data):
    inputs = next(iter(data.batches(len(data)))).inputs
    truth = Session(model.at(Stage.OPTIMIZED).network).run(inputs)
    found = CpuTarget().emulator(model).run(inputs)
    noise = sum(np.square(found[n] - truth[n]).sum() for n in truth)
    return 10 * np.log10(sum(np.square(x).sum() for x in truth.values()) / noise)


def test_training_brings_unseen_outputs_closer_to_the_float_network():
    model, data = with_data(wide(), more=f",{ROUGH}")
    unseen = toys.calibration(wide(), 96).select(range(48, 96))
    result = run(model, data, **BRISK, augment=["flip", "mix"])
    assert result.report.changed
    assert snr(result.model, unseen) > snr(model, unseen) + 3.0
    assert result.report.metrics["snr_db"] > result.report.metrics["snr_db_before"]


@pytest.mark.parametrize(
    "kind", ["weights", "biases", "weight_scales", "activation_scales", "factors"]
)
def test_each_degree_of_freedom_can_move_alone(kind, monkeypatch):
    """What is judged best does not count here: the last round is taken, good or bad."""
    monkeypatch.setattr(Trainer, "best_round", property(lambda self: self.done[-1]))
    trained, original = [], Trainer.round
    monkeypatch.setattr(Trainer, "round", lambda self, heard: _last(trained, self, original, heard))
    model, data = quantized("residual")
    first = weights_of(QuantizedNetwork(model))
    run(model, data, epochs=1, train=[kind])
    moved = {name.split(":")[0] for name, x in trained[-1].items() if not x.equal(first[name])}
    start = {"weights"}  # they start a quarter of a step away from the model's
    assert moved | start == {kind} | start


def _last(trained, trainer, original, heard):
    result = original(trainer, heard)
    trained.append(weights_of(trainer.task.network))
    return result


def test_with_everything_locked_the_model_stays_bit_for_bit():
    model, data = quantized()
    result = run(model, data, epochs=2, train=[])
    assert archive.content(result.model) == archive.content(model)
    assert not result.report.changed


def test_only_the_layers_named_move():
    model, data = with_data(wide(), more=f",{ROUGH}")
    names = list(model.precisions)
    new = run(model, data, **BRISK, layers=[names[0]], train=["weights"]).model
    weights = {n: str(model.graph.node(n).inputs[1].name) for n in names}
    same = {n: np.array_equal(_weight(model, weights[n]), _weight(new, weights[n])) for n in names}
    assert same == {n: n != names[0] for n in names}


def _weight(model, name):
    return model.graph.initializers[name].const_value.numpy()


def test_a_result_that_is_worse_than_the_start_is_dropped_and_said_so():
    model, data = quantized()
    result = run(model, data, epochs=1, learning_rate=50.0, scale_learning_rate=5.0)
    assert not result.report.changed
    assert archive.content(result.model) == archive.content(model)
    assert "dropped" in result.report.summary
    assert result.report.metrics["best_round"] == 0
    assert len(result.report.metrics["held_out_loss"]) == 2
    assert all(note.action == "kept" and note.reason for note in result.report.layers)


def test_an_interrupted_training_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    model, data = quantized()
    whole = run(model, data, epochs=4)
    monkeypatch.setattr(Trainer, "round", _interrupted_after(2, Trainer.round))
    with pytest.raises(KeyboardInterrupt):
        run(model, data, epochs=4, work=tmp_path / "work")
    monkeypatch.undo()
    calls = []
    monkeypatch.setattr(Trainer, "round", _counted(calls, Trainer.round))
    resumed = run(model, data, epochs=4, work=tmp_path / "work")
    assert len(calls) == 2
    assert archive.content(resumed.model) == archive.content(whole.model)
    assert resumed.report == whole.report


def _interrupted_after(rounds, original):
    def trained(self, heard):
        if len(self.done) > rounds:
            raise KeyboardInterrupt
        return original(self, heard)

    return trained


def _counted(calls, original):
    def trained(self, heard):
        calls.append(len(self.done))
        return original(self, heard)

    return trained


def test_what_another_run_kept_is_left_alone(tmp_path):
    model, data = quantized()
    run(model, data, epochs=1, work=tmp_path)
    other = run(model, data, epochs=2, work=tmp_path)
    assert archive.content(other.model) == archive.content(run(model, data, epochs=2).model)


def test_what_was_kept_for_other_data_or_another_model_is_left_alone(tmp_path):
    model, data = quantized()
    run(model, data, epochs=1, work=tmp_path)
    other = ArrayDataset({name: 3 * x for name, x in data.inputs.items()})
    for given in ((model, other), (quantized(mode="a8_w8")[0], data)):
        again = run(*given, epochs=1, work=tmp_path)
        assert again.report == run(*given, epochs=1).report


def test_samples_that_an_earlier_run_calibrated_on_are_varied(monkeypatch):
    model, data = quantized()
    seen = []
    original = Trainer.start
    monkeypatch.setattr(
        Trainer, "start", lambda self: seen.append(self.task.seen) or original(self)
    )
    step = "qft:epochs=1,dataset_size=16,batch_size=8,val_images=8"
    fewbits.optimize(model, calibration=data, recipe=[step])
    fewbits.optimize(toys.conv_chain(), calibration=data, recipe=["quantize", step])
    assert seen == [True, False]


def test_a_training_that_diverges_is_dropped():
    model, data = quantized()
    result = run(model, data, epochs=2, learning_rate=1e30, scale_learning_rate=1e3)
    assert archive.content(result.model) == archive.content(model)
    assert "diverged" in result.report.summary


def test_nothing_to_train_is_an_error():
    model, data = quantized("matmul")
    with pytest.raises(RecipeError, match="nothing of factors to train"):
        run(model, data, train=["factors"])


def test_a_damaged_file_is_named(tmp_path):
    model, data = quantized()
    run(model, data, epochs=1, work=tmp_path)
    file = tmp_path / "rounds.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"rounds\.safetensors is damaged"):
        run(model, data, epochs=1, work=tmp_path)


def test_fewer_than_two_samples_are_refused():
    model, data = quantized()
    with pytest.raises(DataError, match="2 samples"):
        run(model, data.select([0]))


def test_an_unknown_layer_and_an_unknown_device_are_refused():
    model, data = quantized()
    with pytest.raises(RecipeError, match="'nothing'"):
        run(model, data, layers=["nothing"])
    with pytest.raises(UsageError, match="no device 'cuda:77'"):
        run(model, data, device="cuda:77")


def test_without_torch_the_recipe_is_refused_before_anything_runs(monkeypatch):
    model, data = quantized()
    monkeypatch.setattr("fewbits.planning.find_spec", lambda name: None)
    with pytest.raises(PluginError, match="needs torch") as caught:
        fewbits.optimize(model, calibration=data, recipe=["qft"])
    assert "fewbits[qft]" in caught.value.hint


COMPANY = """
import os, sys
sys.path.insert(0, {here!r})
from test_qft import archive, quantized, run
model, data = quantized()
result = run(model, data, epochs=2)
said = f"{{archive.content(result.model)}} {{result.report.metrics['snr_db']}}"
open(f"said-{{os.environ['RANK']}}", "w").write(said)
"""


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    """Both end with the same weights, which are as good as one process's with the same batches."""
    script = tmp_path / "company.py"
    script.write_text(COMPANY.format(here=str(Path(__file__).parent)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(script)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"said-{rank}").read_text() for rank in (0, 1))
    assert first == second
    model, data = quantized()
    alone = run(model, data, epochs=2).report.metrics["snr_db"]
    assert float(first.split()[-1]) == pytest.approx(alone, abs=1.0)

"""Compiling, bundles, what is checked before, and the device, for a target that needs samples."""

import numpy as np
import pytest
from fewbits import api, executables
from fewbits.builtin.cpu import CpuTarget
from fewbits.compiling import FILE_DIGEST
from fewbits.component import Component
from fewbits.errors import DataError, FewbitsError, ModelError, TargetError
from fewbits.hookspecs import hookimpl
from fewbits.interfaces import Finding, Runnable
from fewbits.model import Stage
from fewbits.plugins import discover
from fewbits.testing.toys import calibration, conv_chain

CALLS = []


class Device(Runnable):
    """Gives ones back, and says when it is closed."""

    def __init__(self, model, executable):
        CALLS.append(("opened", executable))
        self.model = model

    def run(self, inputs):
        count = len(next(iter(inputs.values())))
        return {"conv_4_out": np.ones((count, 4, 12, 12), np.float32)}

    def close(self):
        CALLS.append(("closed", None))


class Remote(CpuTarget):
    """A device that calibrates again, elsewhere."""

    name = "remote"
    suffix = ".bin"
    needs_calibration = True

    def check(self, model):
        wide = [node.name for node in model.graph if node.name == "too_wide"]
        return [Finding(name, "it is too wide", "Prune it.") for name in wide]

    def need_compiler(self):
        CALLS.append(("asked", None))

    def compile(self, model, calibration=None):
        return b"made of %d samples" % len(calibration)

    def bundle(self, model, folder, calibration=None):
        (folder / "samples").write_text(f"{len(calibration)}")
        (folder / "sub").mkdir()
        (folder / "sub" / "net").write_text(model.name)
        return [folder / "samples", folder / "sub" / "net"]

    def device(self, model, executable=None):
        return Device(model, executable)


class Plugin:
    @hookimpl
    def targets(self):
        return [Component("target", "remote", "remote", f"{__name__}:Remote")]


@pytest.fixture
def registry():
    CALLS.clear()
    found = discover()
    found.register(Plugin(), "ours")
    return found


@pytest.fixture
def samples(tmp_path):
    path = tmp_path / "samples.npy"
    np.save(path, calibration(conv_chain(), 6).inputs["image"])
    return path


@pytest.fixture
def model(registry, samples):
    return api.optimize(
        conv_chain(), recipe="quantize", calibration=samples, target="remote", registry=registry
    )


def test_samples_of_the_history_are_opened_again(model, registry):
    compiled, data = api.compiled(model, target="remote", registry=registry)
    assert data == b"made of 6 samples"
    metrics = compiled.history[-1].report.metrics
    assert metrics["samples"] == 6
    assert metrics["samples_digest"] == model.history[-1].data["digest"]
    assert ("asked", None) in CALLS


def test_samples_that_are_given_are_taken(model, registry, samples):
    few = np.load(samples)[:2]
    _, data = api.compiled(model, target="remote", calibration=few, registry=registry)
    assert data == b"made of 2 samples"


def test_a_target_that_needs_no_samples_gets_none(model, registry):
    compiled, _ = api.compiled(model, target="cpu", registry=registry)
    assert "samples" not in compiled.history[-1].report.metrics


def test_samples_that_are_gone_are_an_error_that_says_what_to_add(model, registry, samples):
    samples.unlink()
    with pytest.raises(DataError, match="cannot be had again") as caught:
        api.compiled(model, target="remote", registry=registry)
    assert "--calib-path" in caught.value.hint


def test_samples_that_were_given_in_memory_must_be_given_again(registry, samples):
    arrays = np.load(samples)
    held = api.optimize(
        conv_chain(), recipe="quantize", calibration=arrays, target="remote", registry=registry
    )
    with pytest.raises(DataError, match="given in memory"):
        api.compiled(held, target="remote", registry=registry)


def test_a_compilation_is_replayed_with_the_samples(model, registry):
    compiled, _ = api.compiled(model, target="remote", registry=registry)
    assert [step.same for step in api.replay(compiled, registry=registry)] == [True, True]


def test_a_bundle_is_written_whole_or_not_at_all(model, registry, tmp_path):
    folder = tmp_path / "bundle"
    files = api.bundle(model, folder, target="remote", registry=registry)
    assert files == [folder / "samples", folder / "sub" / "net"]
    assert [file.read_text() for file in files] == ["6", "conv_chain"]
    with pytest.raises(FewbitsError, match="holds files already"):
        api.bundle(model, folder, target="remote", registry=registry)
    with pytest.raises(TargetError, match="hands nothing over") as caught:
        api.bundle(model, tmp_path / "other", target="cpu", registry=registry)
    assert "--bundle" in caught.value.hint
    assert not (tmp_path / "other").exists()


def test_what_does_not_fit_is_not_bundled(model, registry, tmp_path):
    wide = model.copy()
    next(iter(wide.graph)).name = "too_wide"
    with pytest.raises(TargetError, match="remote cannot run 'too_wide': it is too wide"):
        api.bundle(wide, tmp_path / "bundle", target="remote", registry=registry)
    assert not (tmp_path / "bundle").exists()
    (found,) = api.check(wide, target="remote", registry=registry)
    assert (found.layer, found.fatal) == ("too_wide", True)
    assert api.check(model, target=Remote(), registry=registry) == []


def test_a_network_in_float_is_checked_and_not_compiled(registry, tmp_path):
    assert api.check(conv_chain(), target="remote", registry=registry) == []
    with pytest.raises(ModelError, match="not quantized"):
        api.bundle(conv_chain(), tmp_path / "bundle", target="remote", registry=registry)


def test_the_device_is_measured_and_given_back(model, registry, samples, tmp_path):
    file = tmp_path / "net.bin"
    found = api.evaluate(model, samples, target="hardware", executable=file, registry=registry)
    assert found.images == 6
    assert "fidelity" in found.metrics
    assert CALLS[-2:] == [("opened", file), ("closed", None)]


def test_the_device_is_given_back_when_measuring_fails(model, registry):
    with pytest.raises(DataError):
        api.evaluate(model, "absent.npy", target="hardware", registry=registry)
    assert CALLS[-2:] == [("opened", None), ("closed", None)]


def test_a_target_without_a_device_says_so(registry, samples):
    held = api.optimize(conv_chain(), recipe="quantize", calibration=samples, registry=registry)
    with pytest.raises(TargetError, match="cpu has no device") as caught:
        api.evaluate(held, samples, target="hardware", registry=registry)
    assert "--target emulator" in caught.value.hint
    with pytest.raises(ModelError, match="not quantized"):
        api.evaluate(conv_chain(), samples, target="hardware", registry=registry)


def test_a_file_that_is_not_the_last_one_compiled_is_told(model, registry, tmp_path):
    path = tmp_path / "net.bin"
    compiled, data = api.compiled(model, target="remote", registry=registry)
    path.write_bytes(data)
    executables.need_same(compiled, path)
    executables.need_same(model, path)
    path.write_bytes(b"old")
    executables.need_same(model, path)
    with pytest.raises(TargetError, match="not what conv_chain was compiled to"):
        executables.need_same(compiled, path)
    assert FILE_DIGEST in compiled.history[-1].report.metrics
    assert compiled.stage is Stage.COMPILED

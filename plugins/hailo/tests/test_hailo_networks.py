"""Real networks go the whole way: optimized, handed over, compiled and run by the stand-ins."""

import json
from pathlib import Path

import fewbits
import numpy as np
import onnx
import onnxruntime
import pytest
from fewbits import api
from fewbits.model import Stage
from fewbits.runtime import Session

SHARED = Path(__file__).resolve().parents[4] / "shared"
NETWORKS = {
    "resnet20_cifar10_bn": (
        "cifar10_jpeg.npz#calib_images",
        "mean=[123.675,116.28,103.53],std=[58.395,57.12,57.375]",
    ),
    "efficientnet_lite0": ("imagenet1k_sample", "resize=256,crop=224,mean=127,std=128"),
    "mobilenetv1_025_vww96_mlperftiny": (
        "coco128",
        "resize=[96,96],std=255,interpolation=bilinear",
    ),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.exists(), reason="the real networks are not here"),
]


@pytest.fixture(scope="module", params=NETWORKS)
def model(request):
    data, preprocess = NETWORKS[request.param]
    network = fewbits.parse(SHARED / "models" / f"{request.param}.onnx", preprocess=preprocess)
    folder = SHARED / "data" / data
    calibration = folder / "images" if data == "coco128" else folder
    return fewbits.optimize(
        network,
        recipe=["equalization", "quantize", "ibc"],
        calibration=str(calibration),
        count=8,
        target="hailo8",
    )


def test_the_file_that_is_handed_over_computes_what_fewbits_has(model, tmp_path):
    api.bundle(model, tmp_path / "out", target="hailo8")
    path = tmp_path / "out" / f"{model.name}.onnx"
    onnx.checker.check_model(onnx.load(path), full_check=True)
    samples = np.load(tmp_path / "out" / "calibration.npy")[:2]
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    firsts = np.ascontiguousarray(np.moveaxis(samples, -1, 1))
    found = np.concatenate([session.run(None, {name: x[None]})[0] for x in firsts])
    (own,) = model.input_names
    (expected,) = Session(model.network).run({own: firsts}).values()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    (optimized,) = Session(model.at(Stage.OPTIMIZED).network).run({own: firsts}).values()
    noise = np.square(found - optimized).sum() / np.square(optimized).sum()
    assert noise < 0.05


def test_the_device_comes_close_to_full_precision(model, compiler, platform, tmp_path):
    compiled, data = api.compiled(model, target="hailo8")
    head = json.loads(data.removeprefix(compiler.MAGIC).partition(b"\n")[0])
    assert "force_range_out" in head["script"]
    path = tmp_path / "net.hef"
    path.write_bytes(data)
    data, _ = NETWORKS[model.name]
    samples = str(SHARED / "data" / data) + ("/images" if data == "coco128" else "")
    found = api.evaluate(
        compiled, samples, target="hardware", executable=path, count=8, evaluators=["fidelity"]
    )
    assert found.metrics["fidelity"]["snr_db"] > 15

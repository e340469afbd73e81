from pathlib import Path

import numpy as np
import pytest
from fewbits import saturation
from fewbits.runtime import Session


class _Saturating:
    """Stands for a processor that adds pairs of products in 16 bits."""

    def __init__(self, network):
        self.network = network

    def run(self, inputs):
        result = Session(self.network).run(inputs)["y"]
        return {"y": result * (32767 / (2 * 255 * 127))}


def _flags():
    info = Path("/proc/cpuinfo")
    return info.read_text() if info.exists() else ""


def test_a_processor_with_vnni_is_found_to_be_exact():
    if "vnni" not in _flags():
        pytest.skip("this processor has no VNNI")
    saturation.products_saturate.cache_clear()
    assert saturation.products_saturate() is False


def test_saturation_is_noticed(monkeypatch):
    saturation.products_saturate.cache_clear()
    monkeypatch.setattr(saturation, "Session", _Saturating)
    assert saturation.products_saturate() is True
    saturation.products_saturate.cache_clear()


def test_the_probe_overflows_16_bits_by_far_and_its_output_does_not_clip():
    constants = {
        n: v.const_value.numpy() for n, v in saturation._probe().graph.initializers.items()
    }
    pair = 2 * 255 * int(constants["weight"].max())
    assert pair > np.iinfo(np.int16).max * 1.5
    assert 255.0 * 127.0 * 8 * 9 / constants["step"] < 255

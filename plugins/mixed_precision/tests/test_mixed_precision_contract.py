"""The plugin and its quantizer keep the contracts."""

import fewbits_mixed_precision.plugin
import pytest
from fewbits.testing import PluginContract, QuantizerContract
from fewbits_mixed_precision.algorithm import MixedPrecision
from fewbits_mixed_precision.options import MixedPrecisionOptions


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_mixed_precision.plugin


class TestMixedPrecision(QuantizerContract):
    minimum_snr = 10.0

    @pytest.fixture
    def quantizer(self):
        return MixedPrecision()


class TestMixedPrecisionWithOptions(QuantizerContract):
    toys = ("two_outputs", "shared_weights", "matmul")
    minimum_snr = 8.0

    @pytest.fixture(
        params=[
            {"ratio_4bit": 0.5, "ratio_16bit": 0.3, "optimizer": "greedy"},
            {"min_snr": 12.0},
            {"bits": 6.0, "precision": "a16_w8"},
        ],
        ids=str,
    )
    def quantizer(self, request):
        return MixedPrecision(MixedPrecisionOptions(**request.param))

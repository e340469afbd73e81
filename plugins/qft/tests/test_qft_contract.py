"""The plugin keeps the contract."""

import fewbits_qft.plugin
import pytest
from fewbits.testing import PluginContract


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_qft.plugin

"""The plugin keeps its contract."""

import fewbits_vision.plugin
import pytest
from fewbits.testing import PluginContract


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_vision.plugin

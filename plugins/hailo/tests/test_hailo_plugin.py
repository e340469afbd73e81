"""The plugin keeps the contract of plugin modules."""

import fewbits_hailo.plugin
import pytest
from fewbits.testing import PluginContract


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_hailo.plugin

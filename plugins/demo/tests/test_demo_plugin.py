import fewbits_demo.plugin
import pytest
from fewbits.interfaces import NamedModel
from fewbits.testing import PluginContract


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_demo.plugin


def test_offers_the_network_and_the_command():
    (model,) = fewbits_demo.plugin.models()
    (command,) = fewbits_demo.plugin.commands()
    assert (model.name, command.name) == ("digits", "demo")
    assert issubclass(model.load(), NamedModel)

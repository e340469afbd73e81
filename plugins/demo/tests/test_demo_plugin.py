import fewbits_demo.plugin
import pytest
from fewbits.interfaces import NamedModel
from fewbits.testing import NamedModelContract, PluginContract
from fewbits_demo.digits import Digits


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_demo.plugin


class TestDigits(NamedModelContract):
    @pytest.fixture
    def named(self):
        return Digits()


def test_offers_the_network_and_the_command():
    (model,) = fewbits_demo.plugin.models()
    (command,) = fewbits_demo.plugin.commands()
    assert (model.name, command.name) == ("digits", "demo")
    assert issubclass(model.load(), NamedModel)

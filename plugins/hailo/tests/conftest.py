"""Stand-ins for Hailo's packages, put where the real ones would be."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def no_hailo(monkeypatch):
    """Neither of Hailo's packages is there, whatever this machine has."""
    for name in ("hailo_sdk_client", "hailo_platform"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    real = sys.modules["importlib.util"].find_spec

    def find_spec(name, package=None):
        return None if name.startswith("hailo_") else real(name, package)

    monkeypatch.setattr("importlib.util.find_spec", find_spec)


@pytest.fixture
def compiler(monkeypatch):
    """The stand-in for Hailo's compiler, as `hailo_sdk_client`."""
    import hailo_sdk_client_standin

    monkeypatch.setitem(sys.modules, "hailo_sdk_client", hailo_sdk_client_standin)
    monkeypatch.setattr(hailo_sdk_client_standin.ClientRunner, "reverse_names", False)
    return hailo_sdk_client_standin


@pytest.fixture
def platform(monkeypatch):
    """The stand-in for HailoRT, as `hailo_platform`, with one device."""
    import hailo_platform_standin

    monkeypatch.setitem(sys.modules, "hailo_platform", hailo_platform_standin)
    monkeypatch.setattr(hailo_platform_standin, "DEVICES", ["0000:01:00.0"])
    monkeypatch.setattr(hailo_platform_standin.VDevice, "opened", 0)
    return hailo_platform_standin

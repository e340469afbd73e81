"""What is known of Hailo's devices, and what stands in for what is not: ONE table.

Hailo publishes neither accumulator widths nor rounding. A value that Hailo states carries a source;
one that is second-hand or inferred is marked so. Whoever learns better mends the row here: targets,
emulator, checks and docs all read it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """One architecture, as `--hw-arch` names it.

    Args:
        name: `hailo8`, `hailo15h`, ….
        title: what Hailo calls it.
    """

    name: str
    title: str


DEVICES = (
    Device("hailo8", "Hailo-8"),
    Device("hailo8r", "Hailo-8R"),
    Device("hailo8l", "Hailo-8L"),
    Device("hailo10h", "Hailo-10H"),
    Device("hailo15h", "Hailo-15H"),
    Device("hailo15m", "Hailo-15M"),
    Device("hailo15l", "Hailo-15L"),
    Device("hailo12l", "Hailo-12L"),
)


def device_called(name: str) -> Device:
    """Return the row of that name."""
    return next(device for device in DEVICES if device.name == name)

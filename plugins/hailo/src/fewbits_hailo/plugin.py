"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl

from fewbits_hailo.devices import DEVICES


@hookimpl
def targets() -> list[Component]:
    """Offer one target for each device of the table."""
    return [
        Component(
            "target",
            device.name,
            f"{device.title}: an approximation of its numerics; compiled by Hailo's own compiler",
            f"fewbits_hailo.target:{device.title.replace('-', '')}",
        )
        for device in DEVICES
    ]

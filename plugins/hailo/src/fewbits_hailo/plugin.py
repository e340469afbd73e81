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


@hookimpl
def algorithms() -> list[Component]:
    """Offer the step that keeps a script's lines for the compiler, and one that scripts name."""
    return [
        Component(
            "algorithm",
            "hailo_script",
            "Keeps what a Hailo model script says to the compiler alone",
            "fewbits_hailo.script.step:HailoScript",
        ),
        Component(
            "algorithm",
            "global_avgpool_reduction",
            "Takes averages over whole maps in two pools, for devices that shift by few bits",
            "fewbits_hailo.pooling:AvgpoolReduction",
        ),
    ]


@hookimpl
def scripts() -> list[Component]:
    """Offer the reader of model scripts."""
    return [
        Component(
            "script",
            "alls",
            "Hailo's model scripts (.alls), as hailomz takes them",
            "fewbits_hailo.script.reader:AllsReader",
        )
    ]


@hookimpl
def commands() -> list[Component]:
    """Offer `fewbits hailo`."""
    return [
        Component(
            "command",
            "hailo",
            "Check model scripts of Hailo's tools",
            "fewbits_hailo.command:app",
        )
    ]

"""The base of every component that has options."""

from typing import Any, ClassVar

from fewbits.options import Options as BaseOptions


class Configurable:
    """A component with options: subclass sets `Options` to a frozen pydantic model."""

    name: ClassVar[str]
    Options: ClassVar[type[BaseOptions]] = BaseOptions

    def __init__(self, options: BaseOptions | None = None) -> None:
        self.options: Any = self.Options() if options is None else options

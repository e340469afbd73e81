"""Components whose name or options break a rule; `test_testing_kit.py` sees them caught."""

from typing import ClassVar

import pytest
from fewbits.interfaces import Configurable
from fewbits.options import Options
from fewbits.testing import ComponentContract
from pydantic import BaseModel, ConfigDict, Field


class SoundOptions(Options):
    first: int = Field(0, description="The first layer that is negated.")


class Negate(Configurable):
    """A component that does nothing but have options."""

    name = "negate"
    Options = SoundOptions


class Contract(ComponentContract):
    Fault: ClassVar[type[Configurable]]
    caught: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def component(self):
        return self.Fault()


class TestSound(Contract):
    Fault = Negate


class TestName(Contract):
    caught = (
        "test_name_can_be_typed_on_a_command_line",
        "test_options_round_trip_through_a_recipe",
        "test_options_round_trip_through_the_command_line",
    )

    class Fault(Negate):
        name = "Negate weights"


class TestOptionsThatChange(Contract):
    caught = ("test_options_are_frozen",)

    class Fault(Negate):
        class Options(BaseModel):
            model_config = ConfigDict(extra="forbid")


class TestOptionsThatForgive(Contract):
    caught = (
        "test_options_are_frozen",
        "test_unknown_option_is_an_error_that_helps",
    )

    class Fault(Negate):
        class Options(Options):
            model_config = ConfigDict(extra="ignore")


class TestOptionWithoutADescription(Contract):
    caught = ("test_every_option_is_described",)

    class Fault(Negate):
        class Options(Options):
            first: int = 0


class TestOptionWithoutADefault(Contract):
    caught = ("test_it_works_without_options",)

    class Fault(Negate):
        class Options(Options):
            first: int = Field(description="The first layer that is negated.")

    @pytest.fixture
    def component(self):
        return self.Fault(self.Fault.Options(first=1))


class TestOptionThatIsNotWritten(Contract):
    caught = (
        "test_options_round_trip_through_a_recipe",
        "test_options_round_trip_through_json",
        "test_options_round_trip_through_the_command_line",
    )

    class Fault(Negate):
        class Options(Options):
            first: int = Field(0, description="The first layer.", exclude=True)

    @pytest.fixture
    def component(self):
        return self.Fault(self.Fault.Options(first=1))


class TestOptionWhoseNoneIsNoDefault(Contract):
    caught = (
        "test_options_round_trip_through_a_recipe",
        "test_options_round_trip_through_the_command_line",
    )

    class Fault(Negate):
        class Options(Options):
            first: int | None = Field(0, description="The first layer; None for none.")

    @pytest.fixture
    def component(self):
        return self.Fault(self.Fault.Options(first=None))

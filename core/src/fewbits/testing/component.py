"""What holds for every component with options."""

import json
import re
from typing import Any

import pytest

from fewbits import options
from fewbits.errors import RecipeError
from fewbits.interfaces import Configurable
from fewbits.recipe import Recipe, Step, parse_step

MEMO = pytest.StashKey[dict[str, Any]]()
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class ComponentContract:
    """Tests of a component's name and options; the contracts of each kind inherit them."""

    @pytest.fixture
    def component(self) -> Configurable:
        """Return the component under test."""
        raise NotImplementedError("give the fixture `component`")

    @pytest.fixture
    def memo(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        """Return a store that the tests of one class share, for what takes long to make."""
        node = request.node.getparent(pytest.Class)
        return {} if node is None else node.stash.setdefault(MEMO, {})

    def test_name_can_be_typed_on_a_command_line(self, component: Configurable) -> None:
        assert NAME.fullmatch(component.name)

    def test_it_works_without_options(self, component: Configurable) -> None:
        assert isinstance(type(component)().options, component.Options)

    def test_options_are_frozen(self, component: Configurable) -> None:
        config = component.Options.model_config
        assert issubclass(component.Options, options.Options)
        assert config.get("frozen") is True
        assert config.get("extra") == "forbid"

    def test_every_option_is_described(self, component: Configurable) -> None:
        fields = component.Options.model_fields
        bare = [name for name, field in fields.items() if not field.description]
        assert not bare, "give these a Field(description=…)"

    def test_unknown_option_is_an_error_that_helps(self, component: Configurable) -> None:
        with pytest.raises(RecipeError) as caught:
            options.build(component.Options, {"no_such_option": 1}, owner=component.name)
        assert "no_such_option" in caught.value.message
        for name in component.Options.model_fields:
            assert name in caught.value.hint

    def test_options_round_trip_through_json(self, component: Configurable) -> None:
        values = json.loads(component.options.model_dump_json())
        assert rebuilt(component, values) == component.options

    def test_options_round_trip_through_a_recipe(self, component: Configurable) -> None:
        step = Step(component.name, _sayable(component))
        (read,) = Recipe.from_toml(Recipe((step,)).to_toml()).steps
        assert rebuilt(component, read.options) == component.options

    def test_options_round_trip_through_the_command_line(self, component: Configurable) -> None:
        step = Step(component.name, _sayable(component))
        assert rebuilt(component, parse_step(str(step)).options) == component.options


def rebuilt(component: Configurable, values: Any) -> options.Options:
    """Return the options that the validator makes of `values`."""
    return options.build(component.Options, values, owner=component.name)


def _sayable(component: Configurable) -> dict[str, Any]:
    """Return the options as a recipe holds them: None cannot be written, it is the default."""
    values: dict[str, Any] = component.options.model_dump(mode="json")
    fields = component.Options.model_fields
    mute = [name for name, value in values.items() if value is None]
    assert all(fields[name].default is None for name in mute), "None must be the default"
    return {name: value for name, value in values.items() if value is not None}

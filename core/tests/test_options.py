"""Options: what is refused, in which words, and how options are described."""

import dataclasses
import enum
import json
from typing import Annotated, Literal

import pytest
from fewbits.errors import RecipeError
from fewbits.options import Options, build, describe
from pydantic import Field, ValidationError, field_validator, model_validator


class Mode(enum.StrEnum):
    FAST = "fast"
    EXACT = "exact"


class Sample(Options):
    bits: int = Field(default=8, ge=2, le=16, description="Width of the weights.")
    ratio: float = Field(default=0.5, gt=0, lt=1)
    ranges: Literal["minmax", "mse"] = "minmax"
    mode: Mode = Mode.FAST
    side: int | tuple[int, int] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    layers: tuple[str, ...] = ()
    precisions: dict[str, str] = Field(default_factory=dict)
    label: str | None = None

    @field_validator("label")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value == "bad":
            raise ValueError("no label may be bad")
        return value


class Needy(Options):
    path: str = Field(description="Where to look.")


class Joint(Options):
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _ordered(self) -> "Joint":
        if self.low >= self.high:
            raise ValueError("low must lie below high")
        return self


def refusal(cls, values):
    with pytest.raises(RecipeError) as caught:
        build(cls, values, owner="step 'x'")
    return caught.value


def test_values_as_text_and_as_numbers_give_the_same_options():
    assert build(Sample, {"bits": "4", "ratio": "0.25"}, owner="x") == Sample(bits=4, ratio=0.25)


def test_options_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Sample().bits = 4


def test_one_value_stands_for_a_list_of_one_in_every_way_of_writing():
    assert build(Sample, {"layers": "conv1"}, owner="x").layers == ("conv1",)
    assert Sample(layers="conv1").layers == ("conv1",)


def test_a_tensor_called_by_a_number_is_text():
    assert build(Sample, {"layers": [468, "out"]}, owner="x").layers == ("468", "out")


def test_a_single_value_is_not_wrapped_where_a_scalar_is_allowed_too():
    assert build(Sample, {"side": 224}, owner="x").side == 224


def test_unknown_option_names_the_nearest_and_the_known():
    error = refusal(Sample, {"bit": 4})
    assert error.message == "step 'x': there is no option 'bit'."
    assert "Did you mean 'bits'?" in error.hint
    assert "ratio" in error.hint


def test_every_wrong_option_is_listed():
    error = refusal(Sample, {"bits": 32, "ratio": 2, "rangs": "mse", "mode": "slow"})
    for part in (
        "option 'bits' is 32: it must be int, ≥ 2, ≤ 16",
        "option 'ratio' is 2: it must be float, > 0, < 1",
        "option 'mode' is 'slow': it must be fast | exact",
        "there is no option 'rangs'",
    ):
        assert part in error.message
    assert "Width of the weights." in error.hint
    assert "Did you mean 'ranges'?" in error.hint


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"side": "big"}, "option 'side' is 'big': it must be int or [int, int] or none"),
        ({"side": [1, 2, 3]}, "option 'side' is [1, 2, 3]: it must be int or [int, int] or none"),
        ({"steps": 0}, "option 'steps' is 0: it must be int or none, ≥ 1"),
        ({"ranges": "max"}, "option 'ranges' is 'max': it must be minmax | mse"),
        ({"precisions": 8}, "option 'precisions' is 8: it must be {str: str}"),
        ({"ratio": "nan"}, "option 'ratio' is 'nan': it must be float, > 0, < 1"),
        ({"label": "bad"}, "option 'label' is 'bad': no label may be bad"),
    ],
)
def test_refusals_are_one_sentence_without_the_validators_jargon(values, words):
    error = refusal(Sample, values)
    assert error.message == f"step 'x': {words}."
    assert not any(word in error.message for word in ("Input should", "tuple[", "validation"))


def test_a_missing_option_is_named_with_its_help():
    error = refusal(Needy, {})
    assert error.message == "step 'x': option 'path' is required."
    assert error.hint == "path: Where to look."


def test_a_rule_over_several_options_speaks_in_its_own_words():
    assert refusal(Joint, {"low": 5}).message == "step 'x': low must lie below high."


def test_an_error_of_ours_keeps_its_hint_and_names_the_owner():
    class Strict(Options):
        mode: str = ""

        @field_validator("mode")
        @classmethod
        def _parse(cls, value: str) -> str:
            raise RecipeError(f"'{value}' is no mode.", hint="Write a8_w8.")

    error = refusal(Strict, {"mode": "a9"})
    assert (error.message, error.hint) == ("step 'x': 'a9' is no mode.", "Write a8_w8.")


def test_long_values_are_cut_in_messages():
    assert len(refusal(Sample, {"bits": "9" * 5000}).message) < 200


def test_infinity_is_no_number_for_options():
    class Free(Options):
        gain: float = 1.0

    assert "'gain' is inf: it must be float" in refusal(Free, {"gain": float("inf")}).message


def test_describe_gives_types_bounds_defaults_and_help():
    told = {info.name: info for info in describe(Sample)}
    assert list(told) == list(Sample.model_fields)
    assert dataclasses.astuple(told["bits"]) == (
        *("bits", "int", "≥ 2, ≤ 16", False, 8, "Width of the weights."),
    )
    assert told["steps"].bounds == "≥ 1"
    assert (told["mode"].type, told["mode"].default) == ("fast | exact", "fast")
    assert told["layers"].type == "list of str"
    assert describe(Needy)[0].required


def test_descriptions_are_json():
    told = [dataclasses.asdict(info) for info in describe(Sample)]
    assert json.loads(json.dumps(told)) == told

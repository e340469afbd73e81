import re
import shlex
import string
from contextlib import suppress
from pathlib import Path

import pytest
from fewbits.errors import RecipeError
from fewbits.recipe import Recipe, Step, parse_step
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.text(
    st.characters(blacklist_categories=("Cs",)) | st.sampled_from("'\"\\[]{}:,=# \n\x7f\x00")
)
SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.sampled_from(["true", "1e5", "-3", "2:4", "inf", "nan", "", "a8_w4", "/head/*", "0x1"])
    | WORDS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner), max_leaves=8
)
KEYS = st.text(string.ascii_lowercase + "_", min_size=1).filter(lambda key: key != "use")
STEPS = st.builds(
    Step,
    st.sampled_from(["quantize", "tse", "my-algorithm.v2"]),
    st.dictionaries(KEYS, VALUES, max_size=4),
)


def exact(step: Step) -> str:
    """Tell 1, 1.0 and True apart, and 0.0 from -0.0."""
    return repr(step)


@given(STEPS)
def test_a_step_reads_back_as_it_was_written(step):
    assert exact(parse_step(str(step))) == exact(step)


@given(st.lists(STEPS, min_size=1, max_size=4))
def test_a_recipe_reads_back_as_it_was_written(steps):
    recipe = Recipe(tuple(steps))
    assert [exact(s) for s in Recipe.from_toml(recipe.to_toml()).steps] == [
        exact(s) for s in recipe.steps
    ]


@given(st.text())
def test_any_text_is_a_step_or_a_recipe_error(text):
    with suppress(RecipeError):
        assert parse_step(text).use == text.partition(":")[0].strip()


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("q", {}),
        ("q:pattern=2:4", {"pattern": "2:4"}),
        ("q:a=1,b=-2.5,c=1e-3,d=1_000", {"a": 1, "b": -2.5, "c": 0.001, "d": 1000}),
        ("q:a=true,b=false,c=True", {"a": True, "b": False, "c": "True"}),
        ("q:a='x, y',b=\"tab\\t\"", {"a": "x, y", "b": "tab\t"}),
        ("q:a=[1, x, [true]]", {"a": [1, "x", [True]]}),
        (
            "quantize:precision=a8_w4,layers={'/head/*': a8_w8, /stem/*: a16_w8}",
            {"precision": "a8_w4", "layers": {"/head/*": "a8_w8", "/stem/*": "a16_w8"}},
        ),
        ("q: a = 1 , b = [ ] , c = { }", {"a": 1, "b": [], "c": {}}),
        ("q:path=/data/a.npz#x", {"path": "/data/a.npz#x"}),
        ("q:date=2024-01-01,version=1.2.3", {"date": "2024-01-01", "version": "1.2.3"}),
    ],
)
def test_values_as_they_are_typed(text, options):
    assert repr(dict(parse_step(text).options)) == repr(options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("q:", ["option's name", "the end", "character 3"]),
        ("q:a", ["'='", "the end"]),
        ("q:a=", ["a value", "the end", "character 5"]),
        ("q:a=1,", ["option's name", "the end"]),
        ("q:a=1 b=2", ["','", "'b'"]),
        ("q:a=[1,2", ["','", "the end"]),
        ("q:a={x 1}", ["':'", "'1'"]),
        ("q:a={x: 1, x: 2}", ["'x' is given twice"]),
        ("q:a=1,a=2", ["option 'a' is given twice", "character 7"]),
        ("q:a='x", ["closing quote"]),
        ('q:a="\\q"', ["escape"]),
        ("q:a=" + "[" * 40, ["nested"]),
        ("q:use=x", ["'use' cannot be the name of an option"]),
        ("q:1=x", ["option's name"]),
        ("two words:a=1", ["'two words' cannot be the name of a step"]),
        ("", ["cannot be the name of a step"]),
    ],
)
def test_a_malformed_step_says_where_and_what_was_wanted(text, words):
    with pytest.raises(RecipeError) as caught:
        parse_step(text)
    assert all(word in caught.value.message for word in words), caught.value.message
    assert "quote" in caught.value.hint


def test_command_line_and_toml_build_the_same_object():
    text = """
    [[step]]
    use = "equalization"
    mode = "two_step"

    [[step]]
    use = "quantize"
    precision = "a8_w4"
    layers = { "/head/*" = "a8_w8" }
    """
    typed = ["equalization:mode=two_step", "quantize:precision=a8_w4,layers={/head/*: a8_w8}"]
    assert Recipe.from_toml(text) == Recipe(tuple(map(parse_step, typed)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[step]]\nuse = \n", ["my.toml", "line 2"]),
        ("", ["my.toml holds no steps"]),
        ("step = 3", ["holds no steps"]),
        ("[[steps]]\nuse = 'x'", ["unknown key 'steps'"]),
        ("[[step]]\nuse = 'x'\n[[step]]\nmode = 1", ["step 2", "what to use"]),
        ("[[step]]\nuse = 'x'\nd = 2024-01-01", ["step 1", "'x'", "datetime.date"]),
        ("[[step]]\nuse = 'x'\n'a b' = 1", ["step 1", "'a b'"]),
        ("a = " + "[" * 3000, ["not TOML"]),
    ],
)
def test_a_wrong_recipe_names_file_and_place(text, words):
    with pytest.raises(RecipeError) as caught:
        Recipe.from_toml(text, source="my.toml")
    assert all(word in caught.value.message for word in words), caught.value.message
    assert caught.value.hint


def test_an_unknown_key_of_a_recipe_suggests_the_known_one():
    with pytest.raises(RecipeError) as caught:
        Recipe.from_toml("[[steps]]\nuse = 'x'")
    assert "Did you mean 'step'?" in caught.value.hint


def test_recipes_are_saved_and_loaded(tmp_path):
    recipe = Recipe((Step("tse"), Step("quantize", {"layers": {"/é*": "a8_w8"}, "share": 0.5})))
    recipe.save(tmp_path / "r.toml")
    assert Recipe.load(tmp_path / "r.toml") == recipe


def test_a_recipe_that_cannot_be_read_is_a_recipe_error(tmp_path):
    with pytest.raises(RecipeError, match="No such file"):
        Recipe.load(tmp_path / "absent.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not a text file"):
        Recipe.load(tmp_path / "bytes.toml")


def test_python_values_that_no_recipe_can_hold_are_refused():
    assert Step("q", {"a": (1, (2,))}).options == {"a": [1, [2]]}
    with pytest.raises(RecipeError, match="no number"):
        Step("q", {"a": object()})


def test_changing_the_callers_dictionary_does_not_change_the_step():
    layers = {"a": [1]}
    step = Step("q", {"layers": layers})
    layers["a"].append(2)
    assert step.options == {"layers": {"a": [1]}}


DOCS = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"


def test_the_two_forms_shown_in_the_docs_are_the_same_recipe():
    text = DOCS.read_text()
    lines = [line for line in text.splitlines() if line.startswith("  -p ")]
    typed = [shlex.split(line.rstrip("\\"))[1] for line in lines]
    toml = text.partition("```toml\n")[2].partition("```")[0]
    assert len(typed) == 2
    assert Recipe.from_toml(toml) == Recipe(tuple(map(parse_step, typed)))


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("number", int | float),
        ("true or false", bool),
        ("word", str),
        ("string", str),
        ("list", list),
        ("map", dict),
    ],
)
def test_the_values_shown_in_the_docs_are_of_the_kind_named(form, kind):
    row = next(line for line in DOCS.read_text().splitlines() if line.startswith(f"| {form} |"))
    examples = re.findall(r"`([^`]+)`", row)
    assert examples
    for example in examples:
        assert isinstance(parse_step(f"q:a={example}").options["a"], kind)

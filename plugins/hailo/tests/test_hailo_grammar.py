"""Model scripts as text: what is read, what is written, and every way to be told off."""

import string

import pytest
from fewbits.errors import RecipeError
from fewbits_hailo.script.parsing import load, parse
from fewbits_hailo.script.syntax import (
    Argument,
    Glob,
    Statement,
    Text,
    Word,
    is_word,
    write,
    write_value,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st


def one(text):
    (statement,) = parse(text)
    return statement


def values(text):
    return [argument.value for argument in one(f"c({text})").arguments]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-3", -3),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-5", 1e-5),
        ("+2E3", 2000.0),
        ("True", True),
        ("False", False),
        ("None", None),
        ("enabled", Word("enabled")),
        ("a16_w16", Word("a16_w16")),
        ("16x4", Word("16x4")),
        ("net/conv1", Word("net/conv1")),
        ("/_blocks.0/Conv", Word("/_blocks.0/Conv")),
        ("{conv*}", Glob("conv*")),
        ("{ conv[0-9]* }", Glob("conv[0-9]*")),
        ("{*}", Glob("*")),
        ('"a, b (c) # d"', Text("a, b (c) # d")),
        ("'it is \"so\"'", Text('it is "so"')),
        (r'"a \"b\" \\ c\n"', Text(r'a "b" \ c\n')),
        ("[]", ()),
        ("[1, [2, {x*}], 'y',]", (1, (2, Glob("x*")), Text("y"))),
        ("[conv1,\n  # a comment\n  {dw*},\n]", (Word("conv1"), Glob("dw*"))),
    ],
)
def test_a_value_is_read_as_what_it_is(text, value):
    (found,) = values(text)
    assert found == value
    assert type(found) is type(value)


def test_a_command_may_give_names_and_take_arguments_of_both_kinds():
    found = one("n/a_d0, n/a_dc = defuse(n/a, 2, defuse_type=SPATIAL)")
    assert found.names == ("n/a_d0", "n/a_dc")
    assert found.command == "defuse"
    assert [a.value for a in found.positional] == [Word("n/a"), 2]
    assert found.named["defuse_type"].value == Word("SPATIAL")


def test_a_call_goes_over_lines_and_knows_where_each_argument_stands():
    text = (
        "# head\r\n\r\n  model_optimization_config(  # why\r\n calibration,\r\n\tbatch_size=2,\r\n)"
    )
    found = one(text)
    assert (found.line, found.column) == (3, 3)
    assert [(a.key, a.line, a.column) for a in found.arguments] == [
        ("", 4, 2),
        ("batch_size", 5, 2),
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "   \t\n#", " "])
def test_a_script_may_say_nothing(text):
    assert parse(text) == ()


def test_line_ends_of_any_system_are_line_ends():
    assert len(parse("a()\r\nb()\rc()\nd()")) == 4


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a(", "line 1, column 3", "expected a value, found the end of the script"),
        ("a(1 2)", "line 1, column 5", "expected ',' or ')', found '2'"),
        ("a(1)) ", "line 1, column 5", "expected the end of the line, found ')'"),
        ("a(1) b(2)", "line 1, column 6", "expected the end of the line, found 'b'"),
        ("x\n", "line 1, column 2", "expected '(' behind 'x', found the end of the line"),
        ("x, y(1)", "line 1, column 5", "expected '=' behind the names, found '('"),
        ("x = y = z()", "line 1, column 7", "expected '(' behind 'y', found '='"),
        ("= a()", "line 1, column 1", "expected a command or a name, found '='"),
        ("2(1)", "line 1, column 1", "expected a command or a name, found '2'"),
        ("a(1,,2)", "line 1, column 5", "expected a value, found ','"),
        ("a(,)", "line 1, column 3", "expected a value, found ','"),
        ("a(k=)", "line 1, column 5", "expected a value, found ')'"),
        ("a(k=1, k=2)", "line 1, column 8", "option 'k' is given twice"),
        ("a(k=1, 2)", "line 1, column 8", "expected an option with its name"),
        ("\n\na(\n [1, 2)", "line 4, column 7", "expected ',' or ']', found ')'"),
        ("a('b)\n", "line 1, column 3", "a string begins here and does not end on its line"),
        ("a({b)\n", "line 1, column 3", "a glob begins here and does not end on its line"),
        ("a(b;c)", "line 1, column 4", "expected ',' or ')', found ';'"),
        ("a(" + "[" * 17, "line 1, column 19", "nested more than 16 deep"),
        ("a(" + "9" * 301 + ")", "line 1, column 3", "301 characters is too long"),
        ("a(1e999)", "line 1, column 3", "the number 1e999 is too large"),
        ("a(\x00)", "line 1, column 3", r"found '\x00'"),
    ],
)
def test_an_error_says_where_what_stands_there_and_what_was_expected(text, place, said):
    with pytest.raises(RecipeError) as caught:
        parse(text, source="net.alls")
    assert caught.value.message.startswith(f"net.alls, {place}: ")
    assert said in caught.value.message
    assert "command(value, key=value)" in caught.value.hint


def test_a_file_is_read_with_or_without_a_mark_of_its_encoding(tmp_path):
    path = tmp_path / "net.alls"
    path.write_bytes(b"\xef\xbb\xbfa(1)\n")
    assert one(load(path)).command == "a"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="is no text"):
        load(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        load(tmp_path / "none.alls")


def test_a_number_that_no_script_can_say_is_not_written():
    with pytest.raises(ValueError, match="inf"):
        write_value(float("inf"))


WORDS = st.text(string.ascii_letters + string.digits + "_./:-+@", min_size=1).filter(is_word)
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
GLOBS = st.text("abcz019*?[]-_/ ").map(str.strip)
PLAIN = st.one_of(
    NUMBERS,
    st.booleans(),
    st.none(),
    WORDS.map(Word),
    TEXTS.map(Text),
    GLOBS.map(Glob),
)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)


@st.composite
def statements(draw):
    keys = draw(st.lists(WORDS, unique=True, max_size=3))
    positional = draw(st.lists(VALUES, max_size=3))
    named = [Argument(key, draw(VALUES)) for key in keys]
    arguments = (*(Argument("", value) for value in positional), *named)
    return Statement(tuple(draw(st.lists(WORDS, max_size=2))), draw(WORDS), arguments)


@settings(deadline=None)
@given(st.lists(statements(), max_size=4).map(tuple))
def test_a_script_that_was_written_reads_back_equal(script):
    found = parse(write(script))
    assert found == script
    assert [types(a.value) for s in found for a in s.arguments] == [
        types(a.value) for s in script for a in s.arguments
    ]
    assert write(found) == write(script)


def types(value):
    return [types(each) for each in value] if isinstance(value, tuple) else type(value)


@settings(deadline=None)
@given(st.text() | st.text("ab(),=[]{}\"'#\\ \n\r\t1.e-", max_size=60))
@example("a(\\")
@example('a("\\')
@example("a({")
def test_no_text_does_anything_but_parse_or_say_where_it_does_not(text):
    try:
        found = parse(text)
    except RecipeError as error:
        told = error.message
    else:
        told = "line column"
        assert parse(write(found)) == found
    assert "line" in told
    assert "column" in told

"""Layers by name or glob."""

import pytest
from fewbits.errors import RecipeError
from fewbits.selection import matched

NAMES = ["conv1", "conv2", "fc[0]"]


def test_names_and_globs():
    assert matched(["conv*", "fc[0]"], NAMES, "step") == set(NAMES)
    assert matched([], NAMES, "step") == set()
    assert matched(["*"], [], "step") == set()


def test_what_matches_nothing_is_refused_with_the_nearest():
    with pytest.raises(RecipeError, match="step 'ibc': no layer matches 'cnv1'") as caught:
        matched(["cnv1"], NAMES, "ibc")
    assert "conv1" in caught.value.hint

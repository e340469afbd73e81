"""The search over levels, without models: against trying everything, and its corner cases."""

import json
import math

import pytest
from fewbits.errors import RecipeError
from fewbits.journal import Journal
from fewbits.tuning import Goal, NothingFitsError, Trial, from_dict, nothing_fits, search, to_dict
from hypothesis import given
from hypothesis import strategies as st

LEVELS = (0, 1, 2)
COMPRESSIONS = (0, 1, 2, 3, 4, 5)
GOAL = Goal("classification", "top1", "%", max_drop=0.5)


def trial(optimization, compression, drop):
    """A trial whose size falls with its compression."""
    return Trial(
        optimization,
        compression,
        ("quantize",),
        80.0 - drop,
        drop,
        GOAL.excess(80.0 - drop, drop),
        100 - compression,
        1.0,
    )


def attempts(table):
    """Return a function for `search` over optimization → drops, and the list of its calls."""
    calls = []

    def attempt(optimization, compression):
        calls.append((optimization, compression))
        return trial(optimization, compression, table[optimization][compression])

    return attempt, calls


drops = st.lists(st.floats(0, 1), min_size=6, max_size=6).map(sorted)


@given(st.tuples(drops, drops, drops))
def test_it_finds_what_trying_everything_finds_in_a_walk(table):
    """Drops rise with compression; from one optimization to the next they may do anything."""
    attempt, calls = attempts(table)
    found = search(LEVELS, COMPRESSIONS, attempt)
    fitting = [c for o in LEVELS for c in COMPRESSIONS if table[o][c] <= 0.5]
    assert (found.best is None) == (not fitting)
    if found.best is not None:
        assert found.best.compression == max(fitting)
        cheapest = min(o for o in LEVELS if table[o][max(fitting)] <= 0.5)
        assert found.best.optimization == cheapest
    assert len(set(calls)) == len(calls) <= len(LEVELS) + len(COMPRESSIONS) - 1


def test_it_goes_from_cheap_to_dear_and_compresses_while_it_can():
    attempt, calls = attempts(
        [
            [0.1, 0.2, 0.6, 0.7, 0.8, 0.9],
            [0.1, 0.2, 0.3, 0.6, 0.8, 0.9],
            [0.1, 0.1, 0.1, 0.2, 0.4, 0.6],
        ]
    )
    found = search(LEVELS, COMPRESSIONS, attempt)
    assert calls == [(0, 0), (0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (2, 5)]
    assert (found.best.optimization, found.best.compression) == (2, 4)
    assert found.complete


def test_an_optimization_that_is_worse_than_a_cheaper_one_does_not_stop_the_walk():
    attempt, _ = attempts([[0.6] * 6, [0.9] * 6, [0.4] * 6])
    assert search(LEVELS, COMPRESSIONS, attempt).best.compression == 5


def test_when_the_time_is_over_the_best_so_far_stands():
    attempt, calls = attempts([[0.1] * 6] * 3)
    found = search(LEVELS, COMPRESSIONS, attempt, time_left=lambda: len(calls) < 3)
    assert (found.best.compression, found.complete) == (2, False)
    attempt, calls = attempts([[0.1] * 6] * 3)
    assert len(search(LEVELS, COMPRESSIONS, attempt, time_left=lambda: False).trials) == 1


def test_one_that_cannot_run_is_a_miss():
    def attempt(optimization, compression):
        failed = Trial(optimization, compression, ("qft",), math.nan, None, math.inf, 0, 0.1)
        return trial(0, compression, 0.1) if optimization == 1 else failed

    assert search((0, 1), (0, 1), attempt).best.compression == 1


@pytest.mark.parametrize(
    ("goal", "value", "drop", "excess"),
    [
        (GOAL, 80.0, 0.5, 0.0),
        (GOAL, 80.0, 0.75, 0.25),
        (GOAL, 80.0, None, math.inf),
        (Goal("fidelity", "snr_db", "dB", floor=20.0), 18.5, None, 1.5),
        (Goal("fidelity", "snr_db", "dB", floor=20.0), 20.0, None, 0.0),
        (Goal("fidelity", "snr_db", "dB", floor=20.0), math.nan, None, math.inf),
    ],
)
def test_how_far_a_goal_is_missed(goal, value, drop, excess):
    assert goal.excess(value, drop) == pytest.approx(excess)


def test_without_success_the_closest_is_named_with_the_remedies():
    error = nothing_fits(GOAL, [trial(0, 0, 2.0), trial(1, 0, 0.75), trial(2, 0, 3.0)])
    assert isinstance(error, NothingFitsError)
    assert "at most 0.5 % of top1 lost" in error.message
    assert "optimization level 1, compression level 0, has 79.25 %" in error.message
    assert "0.75 %" in error.message
    assert "--levels" in error.hint
    assert [t.optimization for t in error.trials] == [0, 1, 2]
    failed = Trial(0, 0, ("ibc",), math.nan, None, math.inf, 0, 0.1, fault="No layer.")
    assert "No layer." in nothing_fits(GOAL, [failed]).message


def test_trials_go_through_json_unchanged():
    failed = Trial(0, 0, ("ibc",), math.nan, None, math.inf, 0, 0.1, fault="No layer.")
    for each in (trial(1, 2, 0.3), failed):
        again = from_dict(json.loads(json.dumps(to_dict(each))))
        assert to_dict(again) == to_dict(each)
        assert again.within == each.within


def test_a_journal_holds_trials_and_refuses_another_search_s(tmp_path):
    path = tmp_path / "t.json"
    journal = Journal(path, {"seed": 0, "network": "a"})
    journal.resume()
    journal.add(trial(0, 0, 0.1))
    journal.add(trial(0, 1, 0.9))
    again = Journal(path, {"seed": 0, "network": "a"})
    again.resume()
    assert again.find(0, 1) == trial(0, 1, 0.9)
    assert again.find(1, 1) is None
    with pytest.raises(RecipeError, match="seed was 0, and now it is 1") as caught:
        Journal(path, {"seed": 1, "network": "a"}).resume()
    assert "--restart" in caught.value.hint
    path.write_text('{"trials": [')
    with pytest.raises(RecipeError, match="does not hold"):
        Journal(path, {"seed": 0, "network": "a"}).resume()

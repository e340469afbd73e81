"""Choices of layers, against every choice there is."""

from itertools import pairwise, product

import numpy as np
import pytest
from fewbits_mixed_precision.choice import evenly, greedy, pareto, smallest_noise
from hypothesis import given
from hypothesis import strategies as st

LAYERS = st.lists(
    st.tuples(st.integers(1, 50), st.integers(0, 20).map(float)), min_size=1, max_size=8
)


def arrays(layers):
    elements, noise = zip(*layers, strict=True)
    return np.array(elements), np.array(noise)


def every(elements, noise):
    """Return (weights, noise) of all subsets."""
    for subset in product([False, True], repeat=len(elements)):
        low = np.array(subset)
        yield int(elements[low].sum()), float(noise[low].sum())


@given(LAYERS)
def test_the_front_holds_exactly_what_no_other_choice_beats(layers):
    elements, noise = arrays(layers)
    all_of_them = set(every(elements, noise))
    unbeaten = {
        (size, cost)
        for size, cost in all_of_them
        if not any(s >= size and c <= cost and (s, c) != (size, cost) for s, c in all_of_them)
    }
    front = pareto(elements, noise)
    assert {(choice.elements, choice.noise) for choice in front} == unbeaten
    sizes = [choice.elements for choice in front]
    assert sizes == sorted(sizes)


@given(LAYERS, st.floats(0.0, 1.0))
def test_no_choice_of_enough_weights_costs_less(layers, share):
    elements, noise = arrays(layers)
    wanted = share * elements.sum()
    chosen = smallest_noise(pareto(elements, noise), wanted)
    assert chosen.elements >= wanted - 1e-9
    assert chosen.noise == min(cost for size, cost in every(elements, noise) if size >= wanted)


@given(LAYERS)
def test_a_thinned_front_is_near_the_exact_one_and_keeps_its_ends(layers):
    elements, noise = arrays(layers)
    exact, thin = pareto(elements, noise), pareto(elements, noise, states=4)
    assert len(thin) <= 5
    assert thin[-1].elements == exact[-1].elements
    assert all(choice.low.shape == elements.shape for choice in thin)


@given(LAYERS)
def test_greedy_choices_are_nested_and_on_or_above_the_front(layers):
    elements, noise = arrays(layers)
    front, nested = pareto(elements, noise), greedy(elements, noise)
    assert len(nested) == len(elements) + 1
    for before, after in pairwise(nested):
        assert (after.low | before.low == after.low).all()
    for choice in nested:
        assert smallest_noise(front, choice.elements).noise <= choice.noise + 1e-9


def test_greedy_takes_the_layer_first_whose_weights_cost_least_each():
    nested = greedy(np.array([10, 10, 1000]), np.array([5.0, 1.0, 50.0]))
    assert [choice.low.tolist() for choice in nested] == [
        [False, False, False],
        [False, False, True],
        [False, True, True],
        [True, True, True],
    ]


def test_pareto_beats_greedy_where_the_last_layer_overshoots():
    elements, noise = np.array([10, 60, 50]), np.array([1.0, 9.0, 10.0])
    assert smallest_noise(greedy(elements, noise), 60).noise == 10.0
    assert smallest_noise(pareto(elements, noise), 60).noise == 9.0


def test_a_hundred_layers_stay_within_the_states():
    rng = np.random.default_rng(0)
    elements, noise = rng.integers(100, 100_000, 100), rng.random(100)
    front = pareto(elements, noise, states=512)
    assert len(front) <= 513
    for choice in front[::50]:
        assert choice.elements == elements[choice.low].sum()
        assert choice.noise == pytest.approx(noise[choice.low].sum())
    assert front[-1].low.all()


def test_evenly_keeps_both_ends():
    front = pareto(np.arange(1, 9), np.arange(1, 9) ** 2.0)
    few = evenly(front, 5)
    assert len(few) <= 5
    assert (few[0], few[-1]) == (front[0], front[-1])

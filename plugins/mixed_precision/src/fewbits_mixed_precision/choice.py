"""Which layers get few bits: every layer saves some weights' bits and costs some noise.

The noise of layers that lose bits together is taken for the sum of what each causes alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: choices held while the Pareto front is built; beyond them it is thinned.
STATES = 4096


@dataclass(frozen=True)
class Choice:
    """A set of layers that get few bits.

    Args:
        low: which layers, `(layers,)`.
        elements: how many weights they have together.
        noise: what they cost together.
    """

    low: NDArray[np.bool_]
    elements: int
    noise: float


def greedy(elements: NDArray[np.int64], noise: NDArray[np.float64]) -> list[Choice]:
    """Return nested choices, layer after layer by noise per weight.

    Args:
        elements: weights of each layer, `(layers,)`.
        noise: what each layer costs alone, `(layers,)`, not negative.

    >>> [c.low.astype(int).tolist() for c in greedy(np.array([1, 9]), np.array([1.0, 2.0]))]
    [[0, 0], [0, 1], [1, 1]]
    """
    order = np.argsort(noise / elements, kind="stable")
    low = np.zeros(len(order), np.bool_)
    found = [_choice(low, elements, noise)]
    for place in order:
        low = low.copy()
        low[place] = True
        found.append(_choice(low, elements, noise))
    return found


def pareto(
    elements: NDArray[np.int64], noise: NDArray[np.float64], states: int = STATES
) -> list[Choice]:
    """Return the choices that no other one beats in weights and in noise at once.

    Layers are added one by one, and what is beaten goes (Nemhauser and Ullmann 1969). The front is
    exact as long as it has no more than `states` choices; a longer one is thinned to the least
    noise in each of so many equal steps of weights, and its ends.

    Args:
        elements: weights of each layer, `(layers,)`.
        noise: what each layer costs alone, `(layers,)`, not negative.
        states: choices that are held.

    Returns:
        Rising in weights and in noise; the first has only layers that cost nothing, the last all.
    """
    low = np.zeros((1, len(elements)), np.bool_)
    size, cost = np.zeros(1, np.int64), np.zeros(1)
    for place in range(len(elements)):
        more = low.copy()
        more[:, place] = True
        low = np.concatenate([low, more])
        size = np.concatenate([size, size + elements[place]])
        cost = np.concatenate([cost, cost + noise[place]])
        kept = _thinned(size, _unbeaten(size, cost), states)
        low, size, cost = low[kept], size[kept], cost[kept]
    return [_choice(row, elements, noise) for row in low]


def _unbeaten(size: NDArray[np.int64], cost: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the places of the choices that none beats, rising in size."""
    order = np.lexsort((cost, -size))  # largest first; of equal ones the cheapest
    least = np.minimum.accumulate(cost[order])
    better = np.concatenate([[True], cost[order][1:] < least[:-1]])
    return np.asarray(order[better][::-1], np.intp)


def _thinned(size: NDArray[np.int64], places: NDArray[np.intp], states: int) -> NDArray[np.intp]:
    """Keep the largest choice, and the smallest, which is the cheapest, of each step of size."""
    if len(places) <= states:
        return places
    step = np.floor(size[places] * ((states - 1) / size[places[-1]]))
    kept = np.concatenate([[True], np.diff(step) > 0])
    kept[-1] = True
    return np.asarray(places[kept])


def _choice(
    low: NDArray[np.bool_], elements: NDArray[np.int64], noise: NDArray[np.float64]
) -> Choice:
    return Choice(low, int(elements[low].sum()), float(noise[low].sum()))


def smallest_noise(front: list[Choice], elements: float) -> Choice:
    """Return the choice of least noise with at least so many weights; the largest if none has."""
    enough = [choice for choice in front if choice.elements >= elements]
    return min(enough, key=lambda choice: choice.noise) if enough else front[-1]


def evenly(front: list[Choice], count: int) -> list[Choice]:
    """Return at most `count` choices of a front, evenly spaced by weights, its ends included."""
    if len(front) <= count:
        return front
    sizes = np.array([choice.elements for choice in front])
    wanted = np.linspace(sizes[0], sizes[-1], count)
    places = np.searchsorted(sizes, wanted)
    return [front[place] for place in dict.fromkeys(places.tolist())]

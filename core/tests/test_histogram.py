import numpy as np
import pytest
from fewbits.histogram import HALF_BINS, Histogram
from hypothesis import given
from hypothesis import strategies as st

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
SAMPLES = st.lists(FLOATS, min_size=1, max_size=30)


def _of(values):
    return Histogram.of(np.array(values, np.float32))


def _same(a, b):
    return (a.exponent, a.start) == (b.exponent, b.start) and np.array_equal(a.counts, b.counts)


@given(SAMPLES, SAMPLES)
def test_merging_two_parts_is_counting_the_whole(a, b):
    assert _same(_of(a).merge(_of(b)), _of(a + b))


@given(SAMPLES, SAMPLES)
def test_order_does_not_matter(a, b):
    assert _same(_of(a).merge(_of(b)), _of(b).merge(_of(a)))


@given(SAMPLES, SAMPLES, SAMPLES)
def test_grouping_does_not_matter(a, b, c):
    left, right = _of(a).merge(_of(b)).merge(_of(c)), _of(a).merge(_of(b).merge(_of(c)))
    assert _same(left, right)


@given(st.lists(FLOATS, min_size=2, max_size=30), st.data())
def test_how_the_data_is_split_does_not_matter(values, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, len(values) - 1), min_size=1)))
    parts = [list(p) for p in np.split(np.array(values, np.float32), cuts)]
    merged = _of(parts[0])
    for part in parts[1:]:
        merged = merged.merge(_of(part))
    assert _same(merged, _of(values))


@given(SAMPLES)
def test_every_sample_is_counted_once_in_the_bin_that_holds_it(values):
    found = _of(values)
    assert found.total == len(values)
    assert len(found.counts) <= 2 * HALF_BINS + 1
    edges = (found.start + np.arange(len(found.counts) + 1)) * found.width
    x = np.array(values, np.float32).astype(np.float64)
    wanted = [((edges[i] <= x) & (x < edges[i + 1])).sum() for i in np.flatnonzero(found.counts)]
    assert list(found.counts[found.counts > 0]) == wanted


@given(SAMPLES, st.integers(0, 5))
def test_doubling_the_width_joins_neighbouring_bins(values, times):
    found = _of(values)
    coarse = found.coarsen(found.exponent + times)
    assert coarse.width == found.width * 2**times
    assert _same(
        coarse, Histogram.within(np.array(values, np.float64), coarse.width * HALF_BINS / 2)
    )


def test_widths_follow_the_largest_magnitude():
    assert _of([-0.5, 1.0]).width == 2.0 / HALF_BINS
    assert _of([-1.0, 3.0]).width == 4.0 / HALF_BINS
    assert _of([0.0]).total == 1


@pytest.mark.parametrize("values", [[-1e-20, 3e38], [-1e-45, 5000.0]])
def test_a_tiny_negative_value_beside_a_huge_one_stays_negative(values):
    found = _of(values)
    assert found.start == -1
    assert found.counts[0] == 1


def test_a_spike_at_zero_is_cut_to_its_fuller_neighbour():
    values = [0.0] * 100 + [-0.001] * 3 + [0.0015] * 5 + [1.0]
    found = _of(values)
    rest = found.without_zeros()
    assert found.total - rest.total == 95
    assert (rest.exponent, rest.start) == (found.exponent, found.start)


def test_without_zeros_leaves_other_histograms_alone():
    away = _of([0.5, 1.0, 1.0])
    assert _same(away.without_zeros(), away)
    assert _of([0.0, 0.0]).without_zeros().total == 0

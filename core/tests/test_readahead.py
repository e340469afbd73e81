import threading

import pytest
from fewbits.readahead import read_ahead


def left():
    return [t for t in threading.enumerate() if t.name.startswith("fewbits-read")]


@pytest.mark.parametrize("window", [1, 3, 100])
def test_results_come_in_order(window):
    assert list(read_ahead(lambda x: x * x, range(20), workers=3, window=window)) == [
        x * x for x in range(20)
    ]
    assert not left()


def test_never_more_than_the_window_is_ahead():
    begun = []
    results = read_ahead(begun.append, range(50), workers=2, window=4)
    for taken, _ in enumerate(results, 1):
        assert len(begun) <= taken + 4


def test_an_error_comes_out_where_it_belongs_and_ends_the_threads():
    def picky(item):
        if item == 3:
            raise ValueError("three")
        return item

    got = []
    results = read_ahead(picky, range(10), workers=2, window=4)
    with pytest.raises(ValueError, match="three"):
        got.extend(results)
    assert got == [0, 1, 2]
    assert not left()


def test_an_interrupt_drops_what_was_not_begun():
    release = threading.Event()
    begun = []

    def slow(item):
        begun.append(item)
        return item == 0 or release.wait(5)

    results = read_ahead(slow, range(100), workers=2, window=20)
    next(results)
    threading.Timer(0.1, release.set).start()
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert not left()
    assert len(begun) <= 3

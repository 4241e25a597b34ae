"""What hookcache itself uses: gathered anywhere, taken once."""

import threading

from hookcache.spending import Spending


def test_what_was_added_is_taken_once():
    """P56: each receipt takes what has gathered since the last."""
    spending = Spending()
    spending.add("table_read_units", 0.5)
    spending.add("table_read_units", 0.5)
    spending.add("s3_requests", 1)

    assert {"table_read_units": 1.0, "s3_requests": 1} == spending.take()
    assert {} == spending.take()


def test_nothing_is_lost_between_threads():
    """P56: the split between receipts is approximate under threads, their sum is exact."""
    spending = Spending()
    taken: list[float] = []
    adders = [threading.Thread(target=lambda: [spending.add("unit", 1) for _ in range(2_000)]) for _ in range(4)]
    for adder in adders:
        adder.start()
    while any(adder.is_alive() for adder in adders):
        taken.append(spending.take().get("unit", 0))
    for adder in adders:
        adder.join()
    taken.append(spending.take().get("unit", 0))

    assert 8_000 == sum(taken)

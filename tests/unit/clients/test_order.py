"""runfeed.core.order where ids are left out; what else it does is in the vectors and in tests/property."""

from __future__ import annotations

from runfeed.core.order import Order


def test_no_hole_where_ids_are_left_out() -> None:
    """What comes is the next, and the hub's word for how far it is counts."""
    order = Order()
    order.begin(5)
    order.partial = True

    def arrived(*numbers: int) -> list[int]:
        return [each["id"] for number in numbers for each in order.arrive(number, {"id": number})]

    assert arrived(9, 7, 10) == [9, 10]
    order.told(20)
    order.told(19)

    assert (order.cursor, order.hole) == (20, False)
    assert arrived(20, 31) == [31]

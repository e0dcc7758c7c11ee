# SPDX-License-Identifier: Apache-2.0
"""Late images, false stamps and clocks that jump."""

import pytest

from lhmap_loc_ros.localization.image_order import ImageOrder, Order

SECOND = 1_000_000_000
NEXT, LATE, FAR, ANEW = Order.NEXT, Order.LATE, Order.FAR_AHEAD, Order.ANEW


@pytest.mark.parametrize(
    ("seconds", "orders"),
    [
        ([10, 10.1, 10.1, 10.3, 10.2, 10.4], [NEXT, NEXT, LATE, NEXT, LATE, NEXT]),
        # one alone was seconds on its way, two are a clock that went back
        ([10, 10.1, 5.0, 10.2, 10.3], [NEXT, NEXT, LATE, NEXT, NEXT]),
        ([10, 10.1, 5.0, 5.1, 5.2], [NEXT, NEXT, LATE, ANEW, NEXT]),
        # a false stamp in the future does not make all that follow late
        ([10, 10.1, 2e9, 10.2, 10.3], [NEXT, NEXT, FAR, NEXT, NEXT]),
        ([10, 10.1, 5.0, 2e9, 10.2, 0.0, 2e9, 10.3], [NEXT, NEXT, LATE, FAR, NEXT, LATE, FAR, NEXT]),
        # but a clock that is set is believed, and so is a break of half a minute
        ([10, 10.1, 2e9, 2e9 + 0.1, 2e9 + 0.2], [NEXT, NEXT, FAR, NEXT, NEXT]),
        ([10, 10.1, 40, 40.1], [NEXT, NEXT, NEXT, NEXT]),
        ([0, 0.1, 0.2], [NEXT, NEXT, NEXT]),
    ],
)
def test_of_one_camera(seconds, orders):
    order = ImageOrder([""])
    assert [order.of("", round(s * SECOND)) for s in seconds] == orders


@pytest.mark.parametrize("apart", (-2, 2))
def test_images_of_one_moment_are_judged_together(apart):
    order, ms = ImageOrder(["left", "right"]), SECOND // 1000
    seconds = [10, 10.1, 5000, 10.2, 10.3]
    found = [order.of_set({"left": round(s * SECOND), "right": round(s * SECOND) + apart * ms}) for s in seconds]
    assert found == [NEXT, NEXT, FAR, NEXT, NEXT]
    # one of them alone that was there already
    assert order.of("right", round(10.3 * SECOND) + apart * ms) is LATE


def test_two_cameras_may_have_the_same_stamps():
    order = ImageOrder(["left", "right"])
    images = (1, "left"), (1, "right"), (1, "left"), (2, "right"), (1, "left")
    found = [order.of(camera, stamp_ns) for stamp_ns, camera in images]
    assert found == [NEXT, NEXT, LATE, NEXT, LATE]

# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share."""

import pytest

from lhmap_loc_ros.mapping import builder, from_cloud


@pytest.fixture(autouse=True, scope="session")
def no_places():
    """Describing places takes longer than all else of a small map: only tests of them do."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (builder, from_cloud):
            patch.setattr(module, "load_describer", lambda config: None)
        yield

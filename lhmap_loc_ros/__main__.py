# SPDX-License-Identifier: Apache-2.0
"""Entry point of the command `lhmap` and of `python -m lhmap_loc_ros`."""

from __future__ import annotations

import sys

from .extras import missing


def main() -> None:
    """Runs the command line; where the packages it is made with are missing, one line says so."""
    try:
        from .cli import main as run
    except ModuleNotFoundError as error:
        if not (line := missing(error)):
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()

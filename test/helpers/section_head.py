# SPDX-License-Identifier: Apache-2.0
"""Sections whose head says something else than what follows it."""

import json
import struct


def rewritten(section: bytes, change) -> bytes:
    """A section whose head `change` edits in place; what follows stays."""
    (length,) = struct.unpack_from("<I", section)
    head = json.loads(section[4 : 4 + length])
    change(head)
    text = json.dumps(head).encode()
    return struct.pack("<I", len(text)) + text + section[4 + length :]

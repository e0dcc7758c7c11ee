# SPDX-License-Identifier: Apache-2.0
"""The one exception hierarchy of the package.

Libraries raise; only the command line and the nodes turn an error into one line of text and an exit code.
"""


class LhmapError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class InputError(LhmapError):
    """Something handed to us is unusable; the message names what was found and what was expected."""

    exit_code = 2


class MapFormatError(InputError):
    """A file is not an LHMap, is damaged, or has a version this reader does not know."""


class BagError(InputError):
    """A bag is missing, truncated, or lacks a topic, calibration or pose that is needed."""


class ModelError(InputError):
    """A network file is missing, damaged, or does not have the inputs and outputs expected."""


class ConfigError(InputError):
    """A configuration field has an impossible value."""

# SPDX-License-Identifier: Apache-2.0
"""The exceptions of tf2; upstream they are defined in tf2_py and re-exported by tf2_ros."""


class TransformException(Exception):
    """Base of all of them."""


class ConnectivityException(TransformException):
    """The two frames are not in the same tree."""


class LookupException(TransformException):
    """A frame is not known."""


class ExtrapolationException(TransformException):
    """The time lies outside what is stored."""


class InvalidArgumentException(TransformException):
    """A frame name or a transform is malformed."""


class TimeoutException(TransformException):
    """Waiting took too long."""

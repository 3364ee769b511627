"""Errors of wrong calls: each is a `UsageError`, and derives from what real Caffe raises, so that scripts catch it."""

from __future__ import annotations

from pycam.errors import UsageError


class UnknownLayer(UsageError, ValueError):
    """A net has no such layer."""


class UnknownBlob(UsageError, KeyError):
    """A net has no such blob."""

    __str__ = Exception.__str__


class UnknownTop(UsageError, AttributeError, KeyError):
    """A NetSpec has no such top."""

    __str__ = Exception.__str__


class SpecError(UsageError, AttributeError, TypeError):
    """A layer cannot be written. Caffe raises one of several errors, and this one is each of them."""


class WrongArguments(UsageError, TypeError):
    """A call has too few arguments, or arguments of another type."""


class WrongCall(UsageError, RuntimeError):
    """A call that the net does not allow."""


class MissingName(UsageError, AttributeError):
    """A name that Caffe has and pycam does not."""

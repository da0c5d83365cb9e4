"""A hub's registry, by the name that notebooks import; it lives in :mod:`helpers.target.registry`."""

from .target.registry import *  # noqa: F403

"""A hub's registry, by the name that notebooks import; it lives in :mod:`helpers.target.registry`."""

from .target.registry import (
    API_VERSION,
    WHY_REST,
    Record,
    RegistryError,
    RestRegistry,
    close_registry,
    official_available,
    open_official,
    open_registry,
    refusal_text,
    twin_patch,
)

__all__ = [
    "API_VERSION",
    "WHY_REST",
    "Record",
    "RegistryError",
    "RestRegistry",
    "close_registry",
    "official_available",
    "open_official",
    "open_registry",
    "refusal_text",
    "twin_patch",
]

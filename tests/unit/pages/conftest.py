"""Fixtures: the pages over a scripted worker."""

from tests.unit.http.conftest import site

__all__ = ["site"]

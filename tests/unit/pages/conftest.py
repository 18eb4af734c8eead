"""The pages over a worker that does what a test tells it to."""

from tests.unit.http.conftest import site

__all__ = ["site"]

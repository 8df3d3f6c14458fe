"""A server that answers as it is told, and a port without one."""

from __future__ import annotations

from tests.answering import server  # noqa: F401 - a fixture

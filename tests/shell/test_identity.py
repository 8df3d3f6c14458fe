"""Who a process is, and of which start of the machine."""

from __future__ import annotations

from cc.shell.identity import read_boot_id


def test_the_boot_id_is_the_same_throughout_a_boot() -> None:
    assert read_boot_id() == read_boot_id() != ""

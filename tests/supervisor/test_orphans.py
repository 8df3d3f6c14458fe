"""Children that were left by their parents, in a process of its own: a subreaper is one for good."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import os, subprocess, sys, time
from cc.supervisor.orphans import Orphans, become_subreaper

def zombies():
    said = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,stat="], capture_output=True, text=True).stdout
    return sorted(int(line.split()[0]) for line in said.splitlines() if line.split()[1].startswith("Z"))

def until(what):
    for _ in range(1000):
        if what():
            return
        time.sleep(0.01)
    sys.exit("not in time")
"""


def asked(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", ASK + code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_forks_away_becomes_our_child_and_is_buried_once_it_is_long_dead() -> None:
    assert (
        asked("""
assert become_subreaper()
orphans = Orphans()
for _ in range(20):
    subprocess.run(["sh", "-c", "(exit 3) & exec true"], check=True)
    subprocess.run(["sh", "-c", "(setsid sleep 0.05 &) ; exit 0"], check=True)
until(lambda: len(zombies()) >= 20)
time.sleep(0.2)
many = len(zombies())
print(orphans.reap(100.0), orphans.reap(104.0), orphans.reap(105.0) == many, zombies())
""")
        == "0 0 True []"
    )


def test_who_is_waited_for_here_keeps_his_exit_code() -> None:
    assert (
        asked("""
become_subreaper()
orphans = Orphans()
child = subprocess.Popen(["sh", "-c", "exit 7"])
until(lambda: child.pid in zombies())
print(orphans.reap(100.0), orphans.reap(104.9), child.wait(), orphans.reap(200.0))
""")
        == "0 0 7 0"
    )


def test_the_living_are_left_alone() -> None:
    assert (
        asked("""
become_subreaper()
orphans = Orphans()
child = subprocess.Popen(["sleep", "60"])
print(orphans.reap(0.0), orphans.reap(1000.0), child.poll())
child.kill()
""")
        == "0 0 None"
    )

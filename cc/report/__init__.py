"""Outcomes and events become lines, a recap, JSON, JUnit, CI annotations and an exit code. Nothing else prints.

May import everything below tasks.py. Must not decide anything but how a thing is said.
"""

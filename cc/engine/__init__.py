"""What a run is: outcomes, steps, ladders, the runner, playbooks.

Pure: no process, no socket, no file, no wall clock. May import the leaves (errors, clock, document); must not know
shell or anything above it. What touches the world comes in as an Action, time comes in as a Clock.
"""

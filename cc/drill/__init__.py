"""Drills: something is broken on purpose, the real command typed, and what came of it held against LADDERS.md.

contract     the ladders, rung by rung, as data
exercise     what a drill is, and what it says when it did not go as it should
ground       ports that nobody else gets, a PATH that lacks things
stage        a project, home and ports of its own beside the user's, in which the commands run; gone at the end
control, stop, containers, dashboard, analytics, health, watch, breaker, scenarios      the drills, ladder by ladder
catalogue    all of them
rehearsal    runs them by the engine's own runner: each is a step, and the recap is the answer
chaos        blow after blow at random, and what must hold after each
"""

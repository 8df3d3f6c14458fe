"""Drills: something is broken on purpose, the real command typed, and what came of it held against LADDERS.md.

exercise     what a drill is, and what it says when it did not go as it should
stage        a project, home and ports of its own beside the user's, in which the commands run; gone at the end
control, stop, containers, dashboard, analytics, watch, scenarios      the drills, beside the ladders they prove
catalogue    all of them
rehearsal    runs them by the engine's own runner: each is a step, and the recap is the answer
chaos        blow after blow at random, and what must hold after each
"""

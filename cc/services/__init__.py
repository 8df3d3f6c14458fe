"""What this stack is made of, as data; how healthy each part is; and the orchestrator that operates it.

May import the leaves, engine, shell and resources. Must not know dashboard, supervisor, report or tasks.
"""

"""One honest page about the tokens and cost of Claude Code sessions, and where the numbers come from.

    identity   who answers: owner, bound address, server (pure)
    asked      the query string -> UsageQuery, the Host header -> answered or not (pure)
    snapshots  one read at a time, its answer shared for a moment
    sources    settings and environment -> where this process's numbers come from
    views      Readings -> what the page says (pure); chart its bars, text its numbers
    app        routes; the only importer of flask
    __main__   Flask's own server, the dashboard ladder's second rung (L4)

May import the leaves, engine, shell, resources, services and usage. Must not know report, nor who starts it.
"""

"""The supervisor: a daemon of our own that keeps the stack alive and answers at once. Nothing depends on it.

    states     which state a service may go to from which, when to restart it and when to give it up (pure)
    registry   what is to run and what was seen of it, kept in SQLite
    watchdog   the thread that looks, hears of deaths, and has restarts done
    protocol   the messages, drawn in its docstring (pure)
    transport  sockets: Unix with its owner checked, TCP with both sides proving the token
    server     takes connections, answers from a table of methods
    client     asks, within deadlines

`protocol`, `transport` and `client` import only leaves, so that `invoke status` stays instant.
"""

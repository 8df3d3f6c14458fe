"""What Claude Code used and cost: every source behind one reader (LADDERS.md, L7).

    query ──> reader ──┬─> transcripts ─> lines ─> decode / recover ─> ledger        session files, each message once
                       ├─> clickhouse ─> telemetry ─> ledger                         the store, final numbers
                       └─> cache                                                     the store's last answer
                  unite (by request id) ─> tally (keys, prices) ─> Reading           pure

May import cc.errors, cc.clock and cc.files. It knows nothing of tasks, containers and dashboards: where the files lie
and which store to ask comes in as `Sources`, which `sources` makes of this machine's settings. msgspec is imported in
`decode` only, requests in `clickhouse` only, and both no sooner than something is read.
"""

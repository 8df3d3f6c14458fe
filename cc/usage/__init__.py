"""What Claude Code used and cost: every source behind one reader (LADDERS.md, L7).

    query ──> reader ──┬─> transcripts     session files, each message once
                       │   asking          the two below, where they are asked
                       ├─> clickhouse ─> telemetry ─> ledger     the store, final numbers
                       └─> cache                                 the store's last answer
                  unite (by request id) ─> groups ─> tally (keys, prices) ─> Reading           pure

    transcripts ──┬─> places                     which files there are
                  ├─> index ─> tables ─> packed ─> columns     what is known of them
                  ├─> workers ─> one_file ─> lines ─> decode / recover ─> ledger     what is new, on all cores
                  └─> settle                     what several files hold, once

    ingest ─> portions of the transcripts ─> store     a table of our own, which the reader asks, too

May import the leaves and resources. It knows nothing of tasks, containers and dashboards: where the files lie and which
store to ask comes in as `Sources`, which `sources` makes of this machine's settings. SQLite is imported with
`transcripts`, requests in `clickhouse` only, and both no sooner than something is read.
"""

"""How fast and how small, as ratios measured in one run: `python -m benchmarks` (`make bench`).

    __main__ (words, table)
        ->  one module a subject: ipc  runs  seam  services  stack  supervised  usage  venv
            ->  measure (turns, medians), box, corpus

What a machine does beside us falls on both sides of a ratio, because the two take turns (A B A B) and the median of
each counts. Absolute times are shown and are no contract. May import all of `cc`; nothing of `cc` knows this package.
"""

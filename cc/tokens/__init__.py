"""How many tokens a text is (LADDERS.md, L8).

    texts -> measure -> ladder ─┬─ api       rung 0: Anthropic counts them
     kinds  pieces   families   ├─ pieces    rung 1: the offline estimate, with its error
                                └─           rung 2: characters / 4, rough

Reads files and stdin and asks one HTTP API; changes nothing. Must not know the stack nor how an answer is shown.
"""

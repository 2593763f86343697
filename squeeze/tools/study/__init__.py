"""What the seed texts claim of liquidation zones, measured: each claim beside its null, with an interval.

    lake ─► history (one fold of `MarketState`) ─► events (`outcomes`) ─► measures ─► compare ─► report

A measure says what happened at events and at the times they are matched with; `compare` turns both into an estimate, a
null and an interval by whole UTC days. What the data cannot answer is said, with the count that is missing.
"""

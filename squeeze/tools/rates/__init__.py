"""How often each pattern is flagged in simulated markets, and what follows; one of them a null in which zones mean
nothing.

    market ─► events ─► frames ─► watch: flags by step ─► count: how often, how long, what follows ─┐
                            └───► walls: who had placed those that were called pulled ──────────────┴─► report
"""

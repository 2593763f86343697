"""How good a model and its signals have been, counted while it runs or from a replay of what it said.

    messages ─► Scorecard ─┐  probabilities wait until their horizon is over and its data are known
    events ───► Record ────┴─► truth (the label of the model's own spec) ─► Board ─► figures, and whether to switch off

It looks ahead of a probability by its horizon, and nothing that predicts reads it. What was not recorded is left out
and counted by reason: it is no zero.
"""

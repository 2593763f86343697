"""Pictures of the heatmaps: what there is to see is gathered once, laid out once, and drawn twice.

folded steps ─► gather ─► figures ─► Picture ─┬─► still: a PNG for eyes, reports and MLflow
                                              └─► page: an interactive HTML file that needs no network
"""

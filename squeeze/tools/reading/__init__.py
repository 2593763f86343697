"""Heatmaps read step by step, as the guide that this project began from reads them (`squeeze read`, `checklist`).

market ─► fold ─► gather ─► steps ─┬─► text, JSON
                                   ├─► figure
                                   └─► predictions ─► squeeze.tools.journal
"""

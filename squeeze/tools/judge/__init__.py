"""The liquidation map held against truth, `squeeze judge`: where the simulator knows it, and where it was recorded.

simulator ─► minutes ─┐                ┌─► levels: rank correlation, capture ─┐
                      ├─► frozen maps ─┤                                      ├─► findings ─► page, JSON, figure
lake ─► sweeps ───────┘                └─► volumes: calibration, correlation ─┘
            simulator ─► tracked zones ──► thinning: do zones thin whose holders leave
"""

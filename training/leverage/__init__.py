"""Leverage weights fitted to liquidations, and where the mixing layer starts."""

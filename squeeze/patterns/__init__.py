"""Patterns in the maps: one module each, all behind one protocol (`pattern`), all reading the same `Scene`."""

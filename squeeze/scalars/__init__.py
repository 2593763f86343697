"""The named numbers of a frame, per side, *down is danger*: from bars, the map, slow streams and the clock."""

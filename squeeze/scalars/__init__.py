"""The named numbers of a frame, per side and oriented *down is danger*: from bars, from the map, from slow streams, from the clock."""

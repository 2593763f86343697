"""From a map to zones: runs of bins that hold unusually much (following them over time comes later)."""

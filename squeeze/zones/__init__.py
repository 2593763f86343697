"""From a map to zones, runs of bins that hold unusually much, and zones and walls followed over time."""

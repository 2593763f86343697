"""Whether the map earns its place: controls, ablation, attribution, and planted leaks."""

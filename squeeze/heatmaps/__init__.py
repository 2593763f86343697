"""Maps of the market by price: where leveraged positions would be liquidated (four more heatmaps come here)."""

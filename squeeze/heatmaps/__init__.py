"""Maps of the market by price: where leveraged positions would be liquidated (the other four heatmaps come here too)."""

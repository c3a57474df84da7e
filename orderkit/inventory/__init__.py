"""Stock: one number for each product, and the movements that explain it."""

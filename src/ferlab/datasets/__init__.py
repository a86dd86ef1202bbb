"""Datasets: one reader each, splits, and the catalog that names them."""

"""Networks: the registry's plain data, builders, heads and the ensemble as one model."""

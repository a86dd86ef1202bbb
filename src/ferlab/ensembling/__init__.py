"""Combining trained runs over their stored predictions."""

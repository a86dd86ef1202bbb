"""Metrics, intervals, figures and the report."""

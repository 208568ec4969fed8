"""Metrics, protocols, comparison, HTML reports and model cards."""

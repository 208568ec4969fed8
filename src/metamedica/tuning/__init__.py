"""Searching for good settings over meta-valid tasks."""

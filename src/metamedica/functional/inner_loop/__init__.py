"""Gradient steps on a copy of a network for each task: what optimisation-based learners share."""

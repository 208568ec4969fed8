"""Stateless maths that two learners share."""

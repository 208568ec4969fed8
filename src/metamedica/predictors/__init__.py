"""What is done with an adapted learner, whatever made it."""

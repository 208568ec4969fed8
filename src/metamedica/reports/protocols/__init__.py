"""How methods are judged: one published protocol a file."""

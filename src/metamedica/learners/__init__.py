"""One method a file. The folder is the list: `metamedica models` reads it."""

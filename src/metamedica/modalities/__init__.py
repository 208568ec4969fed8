"""One kind of case a file or folder: read, check, featurise, encode, draw."""

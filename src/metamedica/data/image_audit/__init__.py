"""Leaks and shortcuts in a labelled set of images: twins, groups and runs of slices over a split, and facts of files that give the label away."""

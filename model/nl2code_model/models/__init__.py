"""Model files: what there is, where it comes from, and whether a file is what it should be."""

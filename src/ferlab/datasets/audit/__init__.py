"""A look at every image of a copy: unusable files, exact duplicates, near duplicates across splits, balance."""

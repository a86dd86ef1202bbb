"""FER-2013 (Goodfellow et al. 2013): the CSV files and class folders in which it circulates."""

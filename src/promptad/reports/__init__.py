"""HTML pages of a run or of predictions, and the comparison of two methods."""

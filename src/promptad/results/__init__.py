"""Results on disk: folders, the table of results, scores and predictions."""

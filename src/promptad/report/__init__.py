"""A run as one page to show to a colleague: what was found, its figures, its worst pictures, and the page itself."""

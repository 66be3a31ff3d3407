"""A run, or an inspection, as one page to show to a colleague: what was found, its figures, its pictures, the page."""

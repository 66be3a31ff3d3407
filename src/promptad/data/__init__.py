"""Pictures on disk: the image loader, the layouts of the data sets, the choice of support images, drawn demo data."""

"""Images on disk: the loader, data sets, few-shot support images, transforms, and the drawn demo data."""

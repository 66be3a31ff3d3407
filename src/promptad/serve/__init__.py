"""A service that judges pictures over HTTP, with a page; exported detectors, without torch."""

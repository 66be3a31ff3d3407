"""The methods: detectors and their training. No test label reaches this package."""

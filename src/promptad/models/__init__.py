"""The methods: detectors and how they learn. No test label reaches this package."""

"""Fit, evaluate and predict, for one class or many."""

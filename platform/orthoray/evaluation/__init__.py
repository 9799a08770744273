"""Evaluate: features once, patient-grouped folds, linear probes, and results as rows."""

"""Evaluate: features once, patient-grouped folds, linear probes and neighbours, and results as rows."""

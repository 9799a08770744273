"""Datasets: cards, ingest, shards, labels, splits."""

"""Sections of a pretraining run's configuration, one file for each concern."""

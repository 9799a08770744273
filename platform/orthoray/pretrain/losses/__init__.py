"""Objectives, one file for each: formula, source, and what is shared between workers."""

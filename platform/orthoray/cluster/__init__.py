"""Ray sessions, resources and job submission."""

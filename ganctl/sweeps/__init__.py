"""Many trainings that look for good settings."""

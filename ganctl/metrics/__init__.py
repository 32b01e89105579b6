"""Scores of generated images: feature extractors and pure functions of features."""

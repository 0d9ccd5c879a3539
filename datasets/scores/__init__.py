"""Scores: read by Verovio, put into labels, and drawn."""

"""Figures of what goes beyond the papers."""

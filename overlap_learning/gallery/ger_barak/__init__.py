"""The figures of Ger & Barak 2026."""

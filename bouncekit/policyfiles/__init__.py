"""Policies as files: read with every mistake at its place, tried, checked, compared, printed."""

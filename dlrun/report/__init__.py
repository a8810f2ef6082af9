"""Figures and tables of runs: read from their records alone, without any training code."""

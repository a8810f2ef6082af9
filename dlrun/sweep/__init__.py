"""Sweeps over recipes: which points there are, in which order, and what came of each.

driver.py     one sweep from its command to its end
space.py      the overrides of a sweep as fixed ones and dimensions
search.py     which point comes next: a grid, or one of Optuna's samplers
ledger.py     what is on disk of a sweep
"""

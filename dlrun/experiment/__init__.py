"""What demonstrations need and no recipe should have: broken networks, hooks, odd measurements.

The experiments in conf/experiment name it by `_target_`.
"""

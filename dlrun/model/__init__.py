"""The group `model`: the network.

    (*, shape, outputs, activation, **options) -> nn.Module

shape: of one sample after preprocessing, e.g. [3, 32, 32] or [13]; outputs: how many numbers to
return for it; activation: a factory of `dlrun.activation`. The module takes (n, *shape) float
and returns (n, outputs): logits, never probabilities.

A model whose class has a true attribute `reconstructs` gives (n, *shape) instead: its input back.
"""

"""The group `model`: the network.

    (*, shape, outputs, activation, **options) -> nn.Module

shape: of one sample after preprocessing, e.g. [3, 32, 32] or [13]; outputs: how many
numbers for each; activation: a factory of `dlrun.activation`. The module takes
(n, *shape) float and gives (n, outputs): logits, never probabilities.

A model whose attribute `reconstructs` is true gives (n, *shape) instead: its input back.
`count` says how large a model is and how much it computes.
"""

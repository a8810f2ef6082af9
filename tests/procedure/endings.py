"""Networks of the user's own that end in a function of their own."""

from torch import nn


def softmax():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))

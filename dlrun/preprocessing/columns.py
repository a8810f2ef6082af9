"""A table with some of its columns alone."""

from collections.abc import Sequence

from torch import Tensor, nn


class Columns(nn.Module):
    """Keeps some columns, by their places from 0; None keeps all."""

    def __init__(self, keep: Sequence[int] | None = None) -> None:
        super().__init__()
        if keep is not None and (not keep or min(keep) < 0 or len(set(keep)) < len(keep)):
            raise ValueError(f"keep must be places from 0, each once, got {list(keep)}")
        self.keep = None if keep is None else list(keep)

    def forward(self, x: Tensor) -> Tensor:
        """(n, columns) -> (n, kept). Raises ValueError where x is no table, or a narrower one."""
        if self.keep is None:
            return x
        if x.dim() != 2:
            shape = "×".join(map(str, x.shape[1:]))
            raise ValueError(f"keep is for the columns of a table, and samples are {shape}")
        if max(self.keep) >= x.shape[1]:
            raise ValueError(f"keep must be below {x.shape[1]}, the columns that are there")
        return x[:, self.keep]

"""Which numeric test proves each option: against its formula, or a second computation."""

PROOFS: dict[str, list[str]] = {}

"""`dlrun sync`: deliver what a tracking server has missed."""

from dlrun.tracking import sync
from dlrun.verb.asked import Asked


def run(asked: Asked) -> int:
    """Deliver the named runs, or all; 1 where something could not be delivered."""
    outputs, uri = asked.text("outputs", "outputs"), asked.text("tracking.uri") or None
    return sync.sync(outputs, list(asked.names), uri)

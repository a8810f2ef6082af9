"""Findings on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from dlrun.finding import FAIL, NOTE, WARN, Finding

_STYLES = {FAIL: "bold red", WARN: "yellow", NOTE: "dim"}


def show(console: Console, findings: Sequence[Finding]) -> None:
    """Each finding, and below it what to type next."""
    for finding in findings:
        console.print()
        said = Text.assemble((finding.name, _STYLES[finding.level]), f": {finding.text}")
        # A terminal breaks lines between words; elsewhere they are as long as they are.
        console.print(said, soft_wrap=not console.is_terminal)
        if finding.command:
            console.print(Text(f"  {finding.command}", style="cyan"), soft_wrap=True)

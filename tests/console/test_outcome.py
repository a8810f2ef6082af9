"""How warnings are shown."""

import logging

from dlrun.console import outcome


def test_a_warning_can_be_said_once(capsys):
    logger = logging.getLogger("dlrun")
    for _ in range(2):
        with outcome.warnings(once=True):
            for message in ("one", "two", "one"):
                logger.warning(message)
    assert capsys.readouterr().err == "warning: one\nwarning: two\n" * 2

import re
import shlex

import pytest

from dlrun.__main__ import main
from tests import readme

TEXT = readme.README.read_text(encoding="utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for line in TEXT.splitlines()
    if re.match(r"    dlrun .*=", line)
    and "resume=" not in line
    and "--help" not in line
    and "mine" not in line
]


def test_the_table_of_groups_is_of_today():
    assert readme.with_table(TEXT) == TEXT, "run make readme"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command, capsys):
    words = shlex.split(command)[1:]
    if "-m" in words:  # the first of every choice
        words = [word.split(",")[0] for word in words if word != "-m"]
    assert main([*words, "--cfg", "job"]) == 0, capsys.readouterr().err


def test_there_are_commands():
    assert len(COMMANDS) >= 8

import re
import shlex

import pytest

from dlrun.__main__ import main
from tests import readme

TEXT = readme.README.read_text(encoding="utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for line in TEXT.splitlines()
    if re.match(r"    dlrun .*=", line) and "resume=" not in line and "--help" not in line
]


def test_the_table_of_groups_is_of_today() -> None:
    assert readme.with_table(TEXT) == TEXT, "run make readme"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    if "mine" in words:
        return  # the user's own directory, tested with the command
    words = [word.split(",")[0] if word.count("=") == 1 and "[" not in word else word for word in words]
    words = [word for word in words if word != "-m"]
    assert main([*words, "--cfg", "job"]) == 0, capsys.readouterr().err


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 8

"""A run imports nothing that it does not use: what is heavy is imported elsewhere, or never."""

import subprocess
import sys

TRAIN = """
import sys
from dlrun.__main__ import main
assert main(["epochs=2 steps", "tracking=none"]) == 0
print(*(name for name in sys.modules))
"""
ELSEWHERE = {"matplotlib", "mlflow", "pandas", "sqlalchemy"}
NEVER = {"sklearn", "scipy", "sympy", "optuna", "torchvision", "torch._dynamo", "torch._inductor"}


def test_of_the_default_recipe(tmp_path):
    subprocess.run([sys.executable, "-c", TRAIN], cwd=tmp_path, check=True)  # decodes the digits
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert not set(done.stdout.split()) & (ELSEWHERE | NEVER)

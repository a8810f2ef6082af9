"""The wheel must do what the checkout does: built, installed elsewhere, run from anywhere."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DEPENDENCIES = sysconfig.get_path("purelib")
# What the new environment puts behind its own packages: those of this one, without its hooks,
# so that the checkout, which is installed here for editing, is not found.
BORROW = "import sys; sys.path.append({path!r})\n"

pytestmark = pytest.mark.slow


def run(command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT])
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The `bin` of an environment with the wheel alone, and this one's packages behind it."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=True, symlinks=True)
    bin_ = home / "bin"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    run([bin_ / "python", *install, "--disable-pip-version-check"])
    purelib = run([bin_ / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    (Path(purelib.strip()) / "borrowed.pth").write_text(BORROW.format(path=DEPENDENCIES))
    return bin_


@pytest.fixture
def clean(tmp_path):
    """Options of a subprocess in an empty directory that knows nothing of the checkout."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MLFLOW"))}
    environment |= {"OMP_NUM_THREADS": "1", "DLRUN_CACHE": str(tmp_path / "cache")}
    work = tmp_path / "work"
    work.mkdir()
    return {"cwd": work, "env": environment}


def test_it_holds_the_package_and_the_recipes(wheel):
    from zipfile import ZipFile

    names = set(ZipFile(wheel).namelist())
    recipes = {f"dlrun/{file.relative_to(ROOT)}" for file in ROOT.glob("conf/**/*.yaml")}
    files = (file for kind in ("py", "yaml") for file in ROOT.glob(f"dlrun/**/*.{kind}"))
    modules = {str(file.relative_to(ROOT)) for file in files}
    assert len(recipes) > 20
    assert recipes | modules <= names
    assert not [name for name in names if name.startswith("tests")]


def test_it_is_the_installed_package_that_runs(installed, clean):
    found = run([installed / "python", "-c", "import dlrun; print(dlrun.__file__)"], **clean)
    assert found.startswith(str(installed.parent))
    assert str(ROOT) not in found


def test_help_is_that_of_the_checkout(installed, clean):
    from dlrun.cli import help

    assert run([installed / "dlrun", "--help"], **clean) == help.text([])


def test_it_trains_from_an_empty_directory(installed, clean):
    shown = run([installed / "dlrun", "epochs=1"], **clean)
    assert "val" in shown
    [directory] = (clean["cwd"] / "outputs" / "runs").iterdir()
    assert '"FINISHED"' in (directory / "status.json").read_text()
    assert (directory / "checkpoints" / "best.pt").is_file()
    assert (clean["cwd"] / "outputs" / "mlflow.db").is_file()

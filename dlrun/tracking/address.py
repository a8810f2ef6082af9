"""What a tracking URI may be, found out without importing MLflow, and how SQLAlchemy spells it."""

import difflib
import os
import re
import sqlite3
from collections.abc import Container
from contextlib import closing
from functools import cache
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

from dlrun import shell

ADVICE = (
    "MLflow takes a server or a database, such as http://127.0.0.1:5000 or sqlite:///runs/mlflow.db"
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+$")  # not the letter of a drive
_SERVERS = ("http", "https")
_DATABRICKS = ("databricks", "databricks-uc", "uc")
_DATABASES = {"sqlite": "sqlite3", "postgresql": "psycopg2", "mysql": "mysqldb", "mssql": "pyodbc"}
"""The databases that MLflow knows, and SQLAlchemy's usual driver of each."""
_MODULES = {"mysqldb": "MySQLdb", "mysqlconnector": "mysql.connector", "pysqlite": "sqlite3"}
"""The modules of drivers that are called otherwise."""
_PACKAGES = {"psycopg2": "psycopg2-binary", "mysqldb": "mysqlclient"}
"""What to install for drivers that are called otherwise."""


def problem(uri: str) -> str | None:
    """Why MLflow could not take a tracking URI, in one line; None where it could."""
    scheme, colon, rest = uri.partition(":")
    scheme = scheme.lower()
    if rest.isdigit() and scheme not in (*_SERVERS, *_DATABASES):
        return f"names no scheme; write http://{uri}"
    whole = scheme in _DATABRICKS or (colon and _SCHEME.match(scheme))
    if not whole or scheme == "file":
        return ADVICE
    if scheme in _plugins():
        return None
    if scheme in _DATABRICKS:
        return _databricks()
    if scheme in _SERVERS:
        return _server(uri, rest)
    database, _, driver = scheme.partition("+")
    if database in _DATABASES:
        return _database(uri, database, driver or _DATABASES[database])
    known = [*_SERVERS, *_DATABASES, *_DATABRICKS, *_plugins()]
    near = difflib.get_close_matches(scheme, known, 1)
    guess = f"did you mean {near[0]}://? " if near else ""
    return f"MLflow knows no {scheme}://; {guess}{ADVICE}"


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite database, or None where the URI is of another kind.

    The path is meant as it is written, whatever signs are in it; `~` is the home directory.
    """
    path = re.sub(r"(?i)^sqlite(\+pysqlite)?:///", "", uri)
    return shell.path(path, "tracking.uri") if path and path != uri else None


def is_database(path: Path) -> bool:
    """Whether a file is a SQLite database, or empty.

    SQLite itself is asked: who opens and closes the file otherwise drops the locks that
    SQLite holds on it in this process, and lets another writer damage it.
    """
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=0)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.Error as error:  # another one, such as a lock, passes
        return getattr(error, "sqlite_errorname", "") != "SQLITE_NOTADB"
    return True


def is_damaged(uri: str) -> bool:
    """Whether the URI names a file that is no SQLite database, in which nothing ever arrives."""
    path = sqlite_path(uri)
    return path is not None and path.is_file() and not is_database(path)


def another(outputs: Path, taken: Container[str]) -> str:
    """The override, quoted, that names a database beside the runs; taken: URIs of no use."""
    names = ("mlflow.db", *(f"mlflow-{number}.db" for number in range(2, 100)))
    uris = {outputs.absolute() / name: f"sqlite:///{outputs.absolute() / name}" for name in names}
    free = next(path for path, uri in uris.items() if uri not in taken and not is_damaged(uri))
    return shell.quote(shell.setting("tracking.uri", f"sqlite:///{shell.near(free)}"))


def engine_uri(uri: str) -> str:
    """The URI as SQLAlchemy takes it, which reads marks in the path of a SQLite database."""
    path = sqlite_path(uri)
    if path is None or not re.search("[%?]", str(path)):
        return uri
    major, minor = (int(number) for number in version("sqlalchemy").split(".")[:2])
    if (major, minor) >= (2, 1):
        spelt = str(path).replace("%", "%25").replace("?", "%3F")
    else:
        spelt = f"file:{quote(str(path))}?uri=true" if "?" in str(path) else str(path)
    # With its driver's name, else MLflow makes a directory of the spelt name.
    return f"sqlite+pysqlite:///{spelt}"


def artifacts(path: Path) -> str:
    """Where the files of runs go beside a SQLite database, as MLflow takes it."""
    folder = path.parent / "artifacts"
    return folder.as_uri() if re.search("[%?#]", str(folder)) else str(folder)


@cache
def _plugins() -> frozenset[str]:
    """The schemes of tracking stores that other packages bring."""
    return frozenset(point.name for point in entry_points(group="mlflow.tracking_store"))


def _databricks() -> str | None:
    config = Path(os.environ.get("DATABRICKS_CONFIG_FILE", "~/.databrickscfg")).expanduser()
    if config.exists() or any(name.startswith("DATABRICKS_") for name in os.environ):
        return None
    return "says no workspace; set DATABRICKS_HOST and DATABRICKS_TOKEN, or write ~/.databrickscfg"


def _server(uri: str, rest: str) -> str | None:
    """Says nothing of a user and a password, which may be in the URI."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError as error:
        return f"{error}; {ADVICE}"
    if not rest.startswith("//") or not host:
        return f"names no host; {ADVICE}"
    if re.search(r"\s", uri):
        return f"has a space in it; {ADVICE}"
    if _port(parts) == 0:
        return f"the port is not a number from 1 to 65535; {ADVICE}"
    if not all(host.rstrip(".").split(".")):
        return f"{host} is not a host; {ADVICE}"
    if parts.fragment or parts.query or uri.endswith(("#", "?")):
        place = parts.netloc.rpartition("@")[2]
        page = f"{parts.scheme}://{place}{parts.path}".rstrip("/")
        return f"is a page of a server; write the server: {page}"
    return None


def _port(parts: SplitResult) -> int | None:
    """The port, None where there is none, and 0 where it cannot be."""
    try:
        return parts.port
    except ValueError:
        return 0


def _database(uri: str, database: str, driver: str) -> str | None:
    if database == "sqlite":
        path = sqlite_path(uri)
        if path is None or str(path) in (".", ":memory:") or driver not in ("sqlite3", "pysqlite"):
            return f"names no file; {ADVICE}"
        return None
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        return f"{error}; {ADVICE}"
    if "://" not in uri or not (parts.netloc or parts.path.strip("/")) or _port(parts) == 0:
        return f"names no database; write {database}://host:port/name, the user before the host"
    if not _is_there(_MODULES.get(driver, driver)):
        package = _PACKAGES.get(driver, driver)
        return f"needs {driver}, which is not installed: pip install {package}"
    return None


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False

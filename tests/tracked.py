"""What the tests need of MLflow's stores."""

import contextlib
import sqlite3
from pathlib import Path


def other_schema(database: Path, folder: Path) -> Path:
    """A copy of an MLflow database in `folder` that says a newer MLflow made it."""
    copy = folder / "newer.db"
    copy.write_bytes(database.read_bytes())
    with contextlib.closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("update alembic_version set version_num = 'fedcba987654'")
    return copy

"""Connections to a sweep's database: SQLite or PostgreSQL."""

import contextlib
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from imclass.config.urls import without_password
from imclass.errors import UserError
from imclass.sweeps.request import SQLITE
from imclass.sweeps.store import reason_of

_OPEN_ATTEMPTS = 10  # two machines may create the tables at once; then one of them fails
# Of libpq: a connection that is dead is noticed within half a minute.
_POSTGRESQL = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def driver_url(url: str) -> str:
    """Return a database's URL with the driver that the extra `postgres` installs."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else url


def require_reachable(url: str) -> None:
    """Raise UserError unless a PostgreSQL server answers; a SQLite file may yet have to be created."""
    if url.startswith("sqlite"):
        return
    with errors_named(url):
        engine = create_engine(driver_url(url), connect_args={"connect_timeout": 10}, poolclass=NullPool)
        engine.connect().close()


@contextlib.contextmanager
def errors_named(url: str) -> Iterator[None]:
    """Within the block, what the database refuses becomes a UserError."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"sweep.storage needs psycopg here: pip install 'imclass[postgres]' ({error})"
        ) from error
    except (SQLAlchemyError, StorageInternalError, RuntimeError, OSError, ValueError) as error:
        shown = without_password(url)
        hint = "; its password comes from ~/.pgpass or PGPASSWORD" if "password" in reason_of(error) else ""
        raise UserError(f"sweep.storage={shown}: cannot be opened ({reason_of(error)}){hint}") from error


def connect(url: str, lost_after: float, *, create: bool) -> RDBStorage:
    """Connect to a database, and create Optuna's tables if there are none."""
    is_sqlite = url.startswith("sqlite")
    if is_sqlite and not create and not Path(url.removeprefix(SQLITE)).exists():
        raise UserError(f"{url.removeprefix(SQLITE)}: no such file; the sweep is recorded in it")
    arguments = {"timeout": 60} if is_sqlite else _POSTGRESQL
    for attempt in range(_OPEN_ATTEMPTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                storage = RDBStorage(
                    driver_url(url).replace("{", "{{").replace("}", "}}"),
                    engine_kwargs={"connect_args": arguments, "pool_pre_ping": True},
                    heartbeat_interval=1,  # of a thread of Optuna's that is not used here
                    grace_period=max(1, round(lost_after)),
                )
            break
        except (SQLAlchemyError, StorageInternalError) as error:
            silent = not is_sqlite and isinstance(error, OperationalError)
            if silent or isinstance(error, ArgumentError) or attempt == _OPEN_ATTEMPTS - 1:
                raise
            time.sleep(0.1 + os.getpid() % 10 / 20)
    if is_sqlite:
        _one_transaction_at_a_time(storage)
    else:
        event.listen(storage.engine, "connect", _use_utc)
    storage.engine.dispose()  # connections from before
    return storage


def _one_transaction_at_a_time(storage: RDBStorage) -> None:
    """Lock a SQLite file from the begin of each transaction, or two machines could take one trial.

    This is the recipe of SQLAlchemy's documentation.
    """

    @event.listens_for(storage.engine, "connect")
    def leave_begin_to_us(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(storage.engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _use_utc(connection: Any, record: Any) -> None:
    """Let the times of all machines' heartbeats be of one time zone."""
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()

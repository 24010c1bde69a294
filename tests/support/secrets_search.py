"""Searches for secrets where none may be: in the metadata database, and in all files that a run has left."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

#: How every token of the local Synapse begins, so that they can be found without knowing them all.
_HEADER = json.dumps({"alg": "none", "typ": "JWT"}).encode()
EMULATOR_TOKEN = base64.urlsafe_b64encode(_HEADER).rstrip(b"=").decode() + "."

#: The table where Airflow itself keeps the secrets of connections.
_KEPT = ("connection",)


def find_secrets(secrets: Iterable[str], *, database: str, folders: Iterable[Path] = ()) -> list[str]:
    """
    Return the places where a secret stands, in clear text, quoted as in a URL or JSON, or in Base64.

    :param secrets: the secrets.
    :param database: the metadata database, as SQLAlchemy names it; where connections are kept is left out.
    :param folders: the folders whose files are searched. SQLite's own files are not: the database is.
    """
    needles = {form for secret in secrets for form in _forms(secret)}
    haystacks = [*_cells(database), *_files(folders)]
    assert haystacks, "nothing was searched"
    return sorted({place for place, text in haystacks if any(needle in text for needle in needles)})


def _forms(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield json.dumps(secret)[1:-1].encode()
    yield base64.b64encode(secret.encode()).rstrip(b"=")[:-1]  # whose last character depends on what follows


def _cells(database: str) -> Iterator[tuple[str, bytes]]:
    engine = sa.create_engine(database)
    tables = sa.MetaData()
    with warnings.catch_warnings():  # of an index that SQLAlchemy does not know
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        tables.reflect(engine)
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            if table.name in _KEPT:
                continue
            columns = [sa.type_coerce(column, _Raw).label(column.name) for column in table.columns]
            for row in connection.execute(sa.select(*columns)).mappings():
                for name, value in row.items():
                    yield f"table {table.name}, column {name}", _as_bytes(value)
    engine.dispose()


class _Raw(sa.types.UserDefinedType):
    """Reads a column as the driver does: nothing may fail to be read."""

    cache_ok = True


def _as_bytes(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()


def _files(folders: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and ".db" not in path.suffix:
                yield f"file {path}", path.read_bytes()

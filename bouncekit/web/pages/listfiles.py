"""Suppression lists in files: one comes in, tried first, one goes out."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import islice
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile

from starlette.responses import StreamingResponse

from bouncekit.desk.listimport import Imported, Prefer
from bouncekit.lists.foreignlist import FORMATS
from bouncekit.lists.listexport import ListFormat, export_list
from bouncekit.policy.suppression import Suppression
from bouncekit.web.keeping import Upload
from bouncekit.web.visiting import NotAsked, Page, Visit

__all__ = ["export", "file", "take_file", "try_file"]

_FORMATS = sorted({one.name for one in FORMATS})
_SHOWN = 20
_AT_ONCE = 1000
_IN_MEMORY = 1024 * 1024
_TYPES = {ListFormat.CSV: "text/csv; charset=utf-8", ListFormat.JSONL: "application/x-ndjson"}


def file(visit: Visit) -> Page:
    """The place to bring a file."""
    return Page(template="import.html", values={"formats": _FORMATS, "prefers": tuple(Prefer)})


def try_file(visit: Visit) -> Page:
    """What an import of the file would do; it is kept until somebody says so."""
    if visit.file is None:
        raise NotAsked("no file: choose one, then try it")
    kept: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - it outlives the request
    name = "".join(one for one in visit.file_name.rpartition("/")[2] if one.isprintable())
    try:
        copyfileobj(visit.file, kept)
        done = _import(visit, kept, name, dry_run=True)
    except BaseException:
        kept.close()
        raise
    upload = visit.house.uploads.keep(Upload(visit.session, name, kept, visit.now))
    return _told(visit, done, name, upload)


def take_file(visit: Visit) -> Page:
    """Import the file that was tried."""
    upload = visit.house.uploads.take(visit.text("upload"), visit.session, visit.now)
    if upload is None:
        raise NotAsked("that file is not kept any more: bring it again")
    with upload.file as kept:
        done = _import(visit, kept, upload.name, dry_run=False)
    return _told(visit, done, upload.name, None)


def export(visit: Visit) -> StreamingResponse:
    """The whole list, as a file that an import takes back."""
    kind = visit.one_of("format", ListFormat) or ListFormat.CSV
    entries = visit.house.postmaster.suppressions.find(tenant=visit.text("tenant"))
    name = f"suppressions-{visit.now:%Y-%m-%d}.{kind}"
    return StreamingResponse(
        _written(entries, kind),
        media_type=_TYPES[kind],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _told(visit: Visit, done: Imported, name: str, upload: str | None) -> Page:
    """What was done, or with `upload` would be."""
    values = {"done": done, "upload": upload, "name": name, "asked": dict(visit.form), "most": _SHOWN}
    return Page(template="imported.html", values=values)


def _import(visit: Visit, kept: SpooledTemporaryFile[bytes], name: str, *, dry_run: bool) -> Imported:
    kept.seek(0)
    format_ = visit.text("format") or None
    if format_ is not None and format_ not in _FORMATS:
        raise NotAsked("format: there is no such list")
    return visit.house.postmaster.suppressions.import_(
        kept,
        name=f"{name} by {visit.user.by}",  # which is what the audit and `undo` know it by
        format=format_,
        tenant=visit.text("tenant"),
        stream=visit.text("stream"),
        prefer=visit.one_of("prefer", Prefer) or Prefer.STRONGER,
        dry_run=dry_run,
    )


def _written(entries: Iterator[Suppression], kind: ListFormat) -> Iterator[bytes]:
    """The file in parts; each would begin with the names of the columns, where the kind has such."""
    head = _part((), kind)
    yield head
    while some := tuple(islice(entries, _AT_ONCE)):
        yield _part(some, kind).removeprefix(head)


def _part(some: Iterable[Suppression], kind: ListFormat) -> bytes:
    part = BytesIO()
    export_list(some, part, format_=kind)
    return part.getvalue()

"""An object store that speaks as much of S3's protocol as Arrow's client asks for, and holds objects in memory."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase, BytesIO
from threading import Thread
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

TIME = "2026-01-01T00:00:00.000Z"


NONE: Mapping[str, str] = MappingProxyType({})
XML = {"Content-Type": "application/xml"}


@contextmanager
def s3_server(objects: dict[str, bytes]) -> Iterator[str]:
    """Serve objects, by bucket and key, and yield the query of their URIs; credentials are not looked at."""
    own = type("OwnHandler", (Handler,), {"objects": objects, "uploads": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), own)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers for a server's objects."""

    objects: ClassVar[dict[str, bytes]]
    uploads: ClassVar[dict[str, dict[int, bytes]]]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def asked(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(parts.path).strip("/") + "/" * (parts.path.endswith("/") and "/" in parts.path.strip("/")), query

    def answer(self, body: bytes | str = b"", status: int = 200, headers: Mapping[str, str] = NONE) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            content = unchunked(self.rfile)
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return unchunked(BytesIO(content)) if "aws-chunked" in self.headers.get("Content-Encoding", "") else content

    def do_HEAD(self) -> None:
        key, _ = self.asked()
        if "/" in key:
            self.do_GET()
        else:
            self.answer(status=200 if any(name.startswith(f"{key}/") for name in self.objects) else 404)

    def facts(self, key: str) -> dict[str, str]:
        etag = f'"{md5(self.objects[key]).hexdigest()}"'  # noqa: S324 - S3's own
        return {
            "ETag": etag,
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            "Content-Type": "binary/octet-stream",
        }

    def do_GET(self) -> None:
        key, query = self.asked()
        if "list-type" in query:
            self.answer(listing(self.objects, key, query), headers=XML)
        elif key not in self.objects:
            self.answer("<Error><Code>NoSuchKey</Code></Error>", 404, headers=XML)
        elif part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, stop = int(part[1]), min(int(part[2] or len(self.objects[key])), len(self.objects[key]) - 1)
            span = f"bytes {start}-{stop}/{len(self.objects[key])}"
            self.answer(self.objects[key][start : stop + 1], 206, {"Content-Range": span, **self.facts(key)})
        else:
            self.answer(self.objects[key], headers=self.facts(key))

    def do_PUT(self) -> None:
        key, query = self.asked()
        content = self.body()
        if "uploadId" in query:
            self.uploads[query["uploadId"]][int(query["partNumber"])] = content
        elif "/" in key:
            self.objects[key] = content
        self.answer(headers={"ETag": '"part"'})

    def do_POST(self) -> None:
        key, query = self.asked()
        content = self.body().decode()
        if "uploads" in query:
            upload = str(len(self.uploads))
            self.uploads[upload] = {}
            self.answer(f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        elif "uploadId" in query:
            parts = self.uploads.pop(query["uploadId"])
            self.objects[key] = b"".join(parts[number] for number in sorted(parts))
            self.answer('<CompleteMultipartUploadResult><ETag>"whole"</ETag></CompleteMultipartUploadResult>')
        else:  # several objects to delete
            for name in re.findall(r"<Key>(.*?)</Key>", content):
                self.objects.pop(f"{key}/{name}", None)
            self.answer("<DeleteResult></DeleteResult>")

    def do_DELETE(self) -> None:
        self.objects.pop(self.asked()[0], None)
        self.answer(status=204)


def unchunked(stream: BufferedIOBase) -> bytes:
    """Read what comes in chunks, each after its size, and what comes after the last (RFC 9112, 7.1)."""
    whole = b""
    while size := int(stream.readline().split(b";")[0], 16):
        whole += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass
    return whole


def listing(objects: dict[str, bytes], bucket: str, query: dict[str, str]) -> str:
    """Return the objects below a prefix, and the folders if a delimiter is asked for."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    keys = sorted(key.removeprefix(f"{bucket}/") for key in objects if key.startswith(f"{bucket}/{prefix}"))
    folders = set()
    files = []
    for key in keys[: int(query.get("max-keys", 1000))]:
        head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        if found:
            folders.add(prefix + head + delimiter)
        else:
            files.append(key)
    return (
        f"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>{len(files)}</KeyCount>"
        + "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[f'{bucket}/{key}'])}</Size>"
            f"<LastModified>{TIME}</LastModified></Contents>"
            for key in files
        )
        + "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(folders))
        + "</ListBucketResult>"
    )

"""Bodies that are sent in signed chunks, as clients send them whose connection has no TLS.

Signed here by hand as the S3 API reference says ("Signature calculations for the Authorization header:
transferring payload in multiple chunks"), because none of the other clients sends all three forms.
"""

import base64
import datetime
import hashlib
import hmac
import http.client
import zlib

import pytest

from conftest import REGION

CHUNK = 64 * 1024
BODY = bytes(range(256)) * 600  # Two chunks and a bit.
CRC = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
EMPTY = hashlib.sha256(b"").hexdigest()


def keyed(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Put:
    """One PUT of BODY, whose pieces a test may falsify before it is sent."""

    def __init__(self, lab, key, payload):
        self.host = lab.endpoint.removeprefix("http://")
        self.path, self.payload = f"/streams/{key}", payload
        now = datetime.datetime.now(datetime.timezone.utc)
        self.date = now.strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.date[:8]}/{REGION}/s3/aws4_request"
        self.key = ("AWS4" + lab.ready["secret_access_key"]).encode()
        for part in self.scope.split("/"):
            self.key = keyed(self.key, part)
        self.headers = {
            "content-encoding": "aws-chunked",
            "host": self.host,
            "x-amz-content-sha256": payload,
            "x-amz-date": self.date,
            "x-amz-decoded-content-length": str(len(BODY)),
        }
        self.trailer = f"x-amz-checksum-crc32:{CRC}" if payload.endswith("TRAILER") else None
        if self.trailer:
            self.headers["x-amz-trailer"] = "x-amz-checksum-crc32"
        names = ";".join(sorted(self.headers))
        lines = "".join(f"{name}:{self.headers[name]}\n" for name in sorted(self.headers))
        canonical = f"PUT\n{self.path}\n\n{lines}\n{names}\n{payload}"
        self.last = self.sign("AWS4-HMAC-SHA256", digest(canonical.encode()))
        credential = f"{lab.ready['access_key_id']}/{self.scope}"
        self.headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={self.last}"
        )

    def sign(self, kind, *rest):
        return keyed(self.key, "\n".join([kind, self.date, self.scope, *rest])).hex()

    def chunks(self):
        pieces = [BODY[at : at + CHUNK] for at in range(0, len(BODY), CHUNK)] + [b""]
        for piece in pieces:
            head = f"{len(piece):x}"
            if "HMAC" in self.payload:
                kind = "AWS4-HMAC-SHA256-PAYLOAD"
                self.last = self.sign(kind, self.last, EMPTY, digest(piece))
                head += f";chunk-signature={self.last}"
            yield head.encode() + b"\r\n" + (piece + b"\r\n" if piece else b"")
        if self.trailer:
            yield self.trailer.encode() + b"\r\n"
            if "HMAC" in self.payload:
                kind = "AWS4-HMAC-SHA256-TRAILER"
                signature = self.sign(kind, self.last, digest(f"{self.trailer}\n".encode()))
                yield f"x-amz-trailer-signature:{signature}\r\n".encode()
        yield b"\r\n"

    def send(self, falsify=lambda wire: wire):
        wire = falsify(b"".join(self.chunks()))
        connection = http.client.HTTPConnection(self.host, timeout=30)
        connection.request("PUT", self.path, wire, self.headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body


@pytest.fixture(scope="module")
def s3(lab):
    client = lab.client("s3")
    client.create_bucket(Bucket="streams")
    yield client
    for it in client.list_objects_v2(Bucket="streams").get("Contents", []):
        client.delete_object(Bucket="streams", Key=it["Key"])
    client.delete_bucket(Bucket="streams")


FORMS = [
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
]


@pytest.mark.parametrize("payload", FORMS)
def test_what_is_right_is_taken(lab, s3, payload):
    status, body = Put(lab, payload, payload).send()
    assert status == 200, body
    got = s3.get_object(Bucket="streams", Key=payload)
    assert got["Body"].read() == BODY
    # The encoding of the transfer is not the object's.
    assert "ContentEncoding" not in got


@pytest.mark.parametrize("payload", FORMS)
def test_a_changed_byte_is_refused(lab, s3, payload):
    at = 3 * CHUNK // 2

    def falsify(wire):
        return wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :]

    status, body = Put(lab, f"changed-{payload}", payload).send(falsify)
    code, wanted = ("SignatureDoesNotMatch", 403) if "HMAC" in payload else ("BadDigest", 400)
    assert (status, f"<Code>{code}</Code>" in body) == (wanted, True), body


@pytest.mark.parametrize("payload", FORMS[1:])
def test_a_wrong_checksum_is_refused(lab, s3, payload):
    put = Put(lab, f"wrong-{payload}", payload)
    put.trailer = "x-amz-checksum-crc32:AAAAAA=="
    status, body = put.send()
    assert (status, "<Code>BadDigest</Code>" in body) == (400, True), body


def test_nothing_of_what_was_refused_is_there(s3):
    keys = [it["Key"] for it in s3.list_objects_v2(Bucket="streams")["Contents"]]
    assert sorted(keys) == sorted(FORMS)

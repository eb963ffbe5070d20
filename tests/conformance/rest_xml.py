"""Checks S3's raw answers: status, headers, the document, errors. Part of strict.py.

S3's model says in which header a member is, and leaves the names of the documents and most error codes to
the API reference; those are below.
"""

import email.utils
import re
import xml.etree.ElementTree as ElementTree

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

# API reference, "Response Syntax" of each operation.
ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetObjectTagging": "Tagging",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
}

# API reference, "Error responses", "List of error codes", with the status of each.
ERRORS = {
    "AccessControlListNotSupported": 400,
    "AccessDenied": 403,
    "AuthorizationHeaderMalformed": 400,
    "BadDigest": 400,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "EntityTooSmall": 400,
    "ExpiredToken": 400,
    "IllegalLocationConstraintException": 400,
    "IncompleteBody": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidDigest": 400,
    "InvalidLocationConstraint": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "InvalidTag": 400,
    "InvalidToken": 400,
    "KMS.DisabledException": 400,
    "KMS.NotFoundException": 400,
    "MalformedPolicy": 400,
    "MalformedXML": 400,
    "MethodNotAllowed": 405,
    "NoSuchBucket": 404,
    "NoSuchBucketPolicy": 404,
    "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404,
    "NoSuchPublicAccessBlockConfiguration": 404,
    "NoSuchTagSet": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NotImplemented": 501,
    "OperationAborted": 409,
    "OwnershipControlsNotFoundError": 404,
    "PermanentRedirect": 301,
    "PreconditionFailed": 412,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "XAmzContentSHA256Mismatch": 400,
}

# Statuses that AWS answers and its model lacks: the reference's example of the operation.
STATUS = {"PutBucketPolicy": [204]}

# Headers that every answer may have, besides the model's.
COMMON = {"x-amz-request-id", "x-amz-id-2", "x-amz-bucket-region", "x-amz-delete-marker"}
PLAIN = {"accept-ranges", "allow", "connection", "content-length", "content-type", "date", "server"}
PLAIN |= {"transfer-encoding", "location"}


def local(tag):
    return tag.split("}")[-1]


def check(walker, operation, status, headers, body, path):
    """Reports what an answer to `operation` has against the model."""
    for name in ("x-amz-request-id", "x-amz-id-2"):
        if name not in headers:
            walker.report(path, f"no {name}")
    body = body if isinstance(body, bytes) else b""
    try:
        if status >= 300:
            _error(walker, operation, status, body, path)
            return
        wanted = {operation.http.get("responseCode", 200), 206, *STATUS.get(operation.name, ())}
        if status not in wanted:
            walker.report(path, f"HTTP status {status}")
        shape = operation.output_shape
        members = shape.members if shape is not None else {}
        _headers(walker, members, headers, path)
        payload = shape.serialization.get("payload") if shape is not None else None
        if operation.http["method"] != "HEAD":
            _body(walker, operation, members, payload, headers, body, path)
    except (ElementTree.ParseError, ValueError) as error:
        walker.report(path, f"the body cannot be read: {error}: {body[:200]!r}")


def _headers(walker, members, headers, path):
    known, prefixes = {}, []
    for name, member in members.items():
        wire = member.serialization.get("name", name).lower()
        if member.serialization.get("location") == "header":
            known[wire] = member
        elif member.serialization.get("location") == "headers":
            prefixes.append(wire)
    for name, value in headers.items():
        if name in known:
            _header(walker, known[name], value, f"{path} {name}")
        elif name in COMMON | PLAIN or any(name.startswith(prefix) for prefix in prefixes):
            continue
        else:
            walker.report(path, f"unknown header {name}")


def _header(walker, member, value, path):
    if member.type_name != "timestamp":
        walker._text(member, value, path)
    elif email.utils.parsedate(value) is None or not value.endswith(" GMT"):
        walker.report(path, f"{value!r} is no date")


def _body(walker, operation, members, payload, headers, body, path):
    if payload is not None and members[payload].type_name in ("blob", "string"):
        return
    inside = {name for name, it in members.items() if not it.serialization.get("location")}
    if not inside:
        if body:
            walker.report(path, f"a body where there is none: {body[:100]!r}")
        return
    if headers.get("content-type", "").partition(";")[0] != "application/xml":
        walker.report(path, f"content type {headers.get('content-type')!r}")
    root = ElementTree.fromstring(body)
    # The API reference shows documents that are a member of their own with it, and without.
    namespace = root.tag.partition("}")[0].lstrip("{") if "}" in root.tag else ""
    if namespace != NAMESPACE and (namespace or payload is None):
        walker.report(path, f"namespace of {root.tag}")
    if operation.name == "GetBucketLocation":
        # The document is the member itself.
        if local(root.tag) != "LocationConstraint" or len(root):
            walker.report(path, f"{local(root.tag)} with {len(root)} members")
        if root.text:
            walker._text(members["LocationConstraint"], root.text, path)
        return
    if payload is not None:
        shape = members[payload]
        wanted = shape.serialization.get("name", shape.name)
    else:
        shape, wanted = operation.output_shape, ROOTS.get(operation.name)
    if local(root.tag) != wanted:
        walker.report(path, f"root element {local(root.tag)}, should be {wanted}")
    walker.xml_members(Document(shape), list(root), path)


class Document:
    """The members of a shape that are in the document."""

    def __init__(self, shape):
        self.members = {
            name: member
            for name, member in shape.members.items()
            if not member.serialization.get("location")
        }
        self.required_members = [name for name in shape.required_members if name in self.members]


def _error(walker, operation, status, body, path):
    if operation.http["method"] == "HEAD" or status == 304:
        if body:
            walker.report(path, f"a body with status {status}: {body[:100]!r}")
        return
    root = ElementTree.fromstring(body)
    texts = {local(child.tag): child.text for child in root}
    if local(root.tag) != "Error":
        walker.report(path, f"error in {local(root.tag)}")
    for name in ("Code", "Message", "RequestId", "HostId"):
        if not texts.get(name):
            walker.report(path, f"error without {name}: {body[:200]!r}")
    code = texts.get("Code")
    if code not in ERRORS:
        walker.report(path, f"error code {code} is not in the API reference")
    elif ERRORS[code] != status:
        walker.report(path, f"error {code} with HTTP status {status}, should be {ERRORS[code]}")
    if not re.fullmatch(r"[A-Za-z0-9.]+", code or "x"):
        walker.report(path, f"error code {code!r}")

"""Checks raw AWS responses against botocore's own service models (service-2.json).

botocore's parsers forgive: they skip unknown members, invent empty lists and take any text for a
string. This module reads the bytes as they came and reports everything that the model does not have:

    raw body ──► outer form of the protocol ──► walk with the output shape ──► list of violations
                 (ec2, query, json, rpc-v2-cbor; rest-xml: rest_xml.py)

Errors are checked for their outer form, for a code that the model documents for the operation or that
AWS documents for all services, and for the HTTP status that the model gives that code.
"""

import base64
import binascii
import datetime
import json
import re
import xml.etree.ElementTree as ElementTree

import cbor2

import rest_xml

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

# Codes that each service may answer to any call: "Common errors" of each API reference.
COMMON_ERRORS = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "DryRunOperation",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InternalFailure",
    "InvalidAction",
    "InvalidClientTokenId",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "InvalidQueryParameter",
    "InvalidSignatureException",
    "MissingAction",
    "MissingAuthenticationTokenException",
    "MissingParameter",
    "RequestExpired",
    "SerializationException",
    "ServiceUnavailable",
    "SignatureDoesNotMatch",
    "Throttling",
    "ThrottlingException",
    "UnknownOperationException",
    "UnknownParameter",
    "UnrecognizedClientException",
    "ValidationError",
    "ValidationException",
}

# Values that AWS answers and its model's enumeration lacks, each with where AWS documents it.
BESIDES_ENUM = {
    # API reference, InternetGatewayAttachment: "For an internet gateway, the state is `available`
    # when attached to a VPC".
    ("AttachmentStatus", "available"),
}

# Bounds that the model sets for requests, on shapes that answers share.
REQUEST_BOUNDS = {
    # An Application Load Balancer has more attributes than the 20 that one request may set.
    "LoadBalancerAttributes",
}


def local(tag):
    """An element's name without its namespace."""
    return tag.split("}")[-1]


class Walker:
    """Walks one answer along its shape and collects violations."""

    def __init__(self):
        self.violations = []

    def report(self, path, what):
        self.violations.append(f"{path}: {what}")

    # XML, for the ec2 and query protocols

    def xml(self, shape, element, path):
        walk = {"structure": self._xml_structure, "list": self._xml_list, "map": self._xml_map}
        if shape.type_name in walk:
            if (element.text or "").strip():
                self.report(path, f"text {element.text!r} in a {shape.type_name}")
            walk[shape.type_name](shape, element, path)
            return
        if len(element):
            self.report(path, f"elements in a {shape.type_name}")
        self._text(shape, element.text or "", path)

    def xml_members(self, shape, elements, path):
        members, flattened = {}, set()
        for name, member in shape.members.items():
            wire = member.serialization.get("name", name)
            if member.type_name == "list" and member.serialization.get("flattened"):
                wire = member.member.serialization.get("name", wire)
                flattened.add(wire)
            members[wire] = (name, member)
        seen = set()
        for element in elements:
            wire = local(element.tag)
            if wire not in members:
                self.report(path, f"unknown member {wire}")
                continue
            name, member = members[wire]
            if name in seen and wire not in flattened:
                self.report(path, f"{wire} twice")
            seen.add(name)
            inner = member.member if wire in flattened else member
            self.xml(inner, element, f"{path}.{name}")
        self._required(shape, seen, path)

    def _xml_structure(self, shape, element, path):
        self.xml_members(shape, list(element), path)

    def _xml_list(self, shape, element, path):
        self._bounds(shape, len(element), path)
        item = shape.member.serialization.get("name", "member")
        for child in element:
            if local(child.tag) != item:
                self.report(path, f"list item {local(child.tag)}, the model says {item}")
            self.xml(shape.member, child, f"{path}[]")

    def _xml_map(self, shape, element, path):
        key = shape.key.serialization.get("name", "key")
        value = shape.value.serialization.get("name", "value")
        for entry in element:
            names = sorted(local(child.tag) for child in entry)
            if local(entry.tag) != "entry" or names != sorted([key, value]):
                self.report(path, f"map entry {local(entry.tag)} with {names}")

    def _text(self, shape, text, path):
        kind = shape.type_name
        if kind in ("integer", "long"):
            if re.fullmatch(r"-?\d+", text):
                self._bounds(shape, int(text), path)
            else:
                self.report(path, f"{text!r} is no {kind}")
        elif kind in ("float", "double"):
            try:
                float(text)
            except ValueError:
                self.report(path, f"{text!r} is no {kind}")
        elif kind == "boolean" and text not in ("true", "false"):
            self.report(path, f"{text!r} is no boolean")
        elif kind == "timestamp" and not TIMESTAMP.fullmatch(text):
            self.report(path, f"{text!r} is no timestamp")
        elif kind == "blob":
            self._base64(text, path)
        elif kind == "string":
            self._string(shape, text, path)

    # JSON and CBOR

    def value(self, shape, value, path, cbor=False):
        kind = shape.type_name
        if kind == "structure":
            if not isinstance(value, dict):
                self.report(path, f"{type(value).__name__} for a structure")
                return
            members = {m.serialization.get("name", n): (n, m) for n, m in shape.members.items()}
            for wire, inner in value.items():
                if wire not in members:
                    self.report(path, f"unknown member {wire}")
                elif inner is None:
                    self.report(path, f"null for {wire}")
                else:
                    self.value(members[wire][1], inner, f"{path}.{wire}", cbor)
            self._required(shape, {members[w][0] for w in value if w in members}, path)
        elif kind == "list":
            if not isinstance(value, list):
                self.report(path, f"{type(value).__name__} for a list")
                return
            self._bounds(shape, len(value), path)
            for inner in value:
                self.value(shape.member, inner, f"{path}[]", cbor)
        elif kind == "map":
            if not isinstance(value, dict):
                self.report(path, f"{type(value).__name__} for a map")
                return
            for key, inner in value.items():
                self.value(shape.value, inner, f"{path}[{key}]", cbor)
        else:
            self._scalar(shape, value, path, cbor)

    def _scalar(self, shape, value, path, cbor):
        number = (int, float)
        kinds = {
            "string": str,
            "character": str,
            "integer": int,
            "long": int,
            "float": number,
            "double": number,
            "boolean": bool,
            "timestamp": datetime.datetime if cbor else number,
            "blob": bytes if cbor else str,
        }
        wanted = kinds[shape.type_name]
        is_bool = isinstance(value, bool)
        if not isinstance(value, wanted) or (is_bool and wanted is not bool):
            self.report(path, f"{value!r} is no {shape.type_name}")
        elif shape.type_name == "string":
            self._string(shape, value, path)
        elif shape.type_name in ("integer", "long"):
            self._bounds(shape, value, path)
        elif shape.type_name == "blob" and not cbor:
            self._base64(value, path)

    # both

    def _string(self, shape, text, path):
        self._enum(shape, text, path)
        self._bounds(shape, len(text), path)

    def _bounds(self, shape, size, path):
        least, most = shape.metadata.get("min"), shape.metadata.get("max")
        if shape.name in REQUEST_BOUNDS:
            return
        if least is not None and size < least:
            self.report(path, f"{size} is below the minimum {least}")
        if most is not None and size > most:
            self.report(path, f"{size} is above the maximum {most}")

    def _base64(self, text, path):
        try:
            base64.b64decode(text, validate=True)
        except binascii.Error:
            self.report(path, "no Base64")

    def _enum(self, shape, text, path):
        if shape.enum and text not in shape.enum and (shape.name, text) not in BESIDES_ENUM:
            self.report(path, f"{text!r} is not one of {shape.enum}")

    def _required(self, shape, seen, path):
        for name in shape.required_members:
            if name not in seen:
                self.report(path, f"required member {name} is missing")


def protocol_of(operation, headers):
    """The protocol that an answer is in; a model may allow several."""
    if operation.service_model.metadata["protocol"] == "rest-xml":
        return "rest-xml"
    kind = headers.get("content-type", "")
    if kind.startswith("application/cbor"):
        return "smithy-rpc-v2-cbor"
    if kind.startswith("application/x-amz-json"):
        return "json"
    return "ec2" if operation.service_model.metadata["protocol"] == "ec2" else "query"


def check(operation, status, headers, body):
    """The violations of one raw answer to `operation` (a botocore OperationModel)."""
    walker = Walker()
    service = operation.service_model
    path = f"{service.service_name}.{operation.name}"
    headers = {name.lower(): value for name, value in headers.items()}
    protocol = protocol_of(operation, headers)
    if protocol == "rest-xml":
        rest_xml.check(walker, operation, status, headers, body, path)
        return walker.violations
    spoken = service.metadata.get("protocols", [service.metadata["protocol"]])
    if protocol not in spoken:
        walker.report(path, f"answered in {protocol}, the service speaks {spoken}")
    _content_type(walker, service, protocol, headers, path)
    if "x-amzn-requestid" not in headers:
        walker.report(path, "no x-amzn-RequestId")
    try:
        if status >= 300:
            code = _error(walker, protocol, status, body, path)
            _error_code(walker, operation, code, status, path)
        elif status != operation.http.get("responseCode", 200):
            walker.report(path, f"HTTP status {status}")
        elif protocol in ("ec2", "query"):
            _xml_answer(walker, operation, protocol, body, path)
        else:
            cbor = protocol != "json"
            if cbor and headers.get("smithy-protocol") != "rpc-v2-cbor":
                walker.report(path, "no smithy-protocol header")
            value = (cbor2.loads(body) if cbor else json.loads(body)) if body else {}
            if operation.output_shape is not None:
                walker.value(operation.output_shape, value, path, cbor)
            elif value:
                walker.report(path, f"members {sorted(value)} in an answer without any")
    except (ElementTree.ParseError, ValueError) as error:
        walker.report(path, f"the body cannot be read: {error}: {body[:200]!r}")
    return walker.violations


def _content_type(walker, service, protocol, headers, path):
    if protocol == "json":
        wanted = f"application/x-amz-json-{service.metadata.get('jsonVersion', '1.0')}"
    else:
        wanted = "application/cbor" if protocol == "smithy-rpc-v2-cbor" else "text/xml"
    kind = headers.get("content-type", "").partition(";")[0]
    if kind != wanted:
        walker.report(path, f"content type {kind!r}, should be {wanted!r}")


def _xml_answer(walker, operation, protocol, body, path):
    root = ElementTree.fromstring(body)
    if local(root.tag) != f"{operation.name}Response":
        walker.report(path, f"root element {local(root.tag)}")
    namespace = operation.service_model.metadata.get("xmlNamespace")
    namespace = namespace or f"http://ec2.amazonaws.com/doc/{operation.service_model.api_version}/"
    if isinstance(namespace, dict):
        namespace = namespace["uri"]
    # EC2 itself sends its namespace with a slash at the end, which the model leaves out.
    if root.tag.partition("}")[0].lstrip("{").rstrip("/") != namespace.rstrip("/"):
        walker.report(path, f"namespace of {root.tag}, the model says {namespace}")
    shape, children = operation.output_shape, list(root)
    if protocol == "ec2":
        if "requestId" not in [local(child.tag) for child in children]:
            walker.report(path, "no requestId")
        members = shape.members if shape is not None else {}
        wires = {member.serialization.get("name", name) for name, member in members.items()}
        # EC2 sends <return>true</return> also where the model has no such member.
        inner = [c for c in children if local(c.tag) not in {"requestId", "return"} - wires]
        if shape is not None:
            walker.xml_members(shape, inner, path)
        elif inner:
            walker.report(path, f"unknown members {[local(c.tag) for c in inner]}")
        return
    metadata = [child for child in children if local(child.tag) == "ResponseMetadata"]
    if not metadata or not [c for c in metadata[0] if local(c.tag) == "RequestId"]:
        walker.report(path, "no ResponseMetadata with a RequestId")
    rest = [child for child in children if local(child.tag) != "ResponseMetadata"]
    if shape is None:
        if [c for result in rest for c in result]:
            walker.report(path, "members in an answer without any")
        return
    wrapper = shape.serialization.get("resultWrapper", f"{operation.name}Result")
    if [local(child.tag) for child in rest] != [wrapper]:
        walker.report(path, f"{[local(c.tag) for c in rest]} instead of {wrapper}")
    for result in rest:
        walker.xml_members(shape, list(result), path)


def _error(walker, protocol, status, body, path):
    if protocol in ("json", "smithy-rpc-v2-cbor"):
        value = json.loads(body) if protocol == "json" else cbor2.loads(body)
        code = value.get("__type", "").split("#")[-1]
        message = value.get("message", value.get("Message"))
    else:
        root = ElementTree.fromstring(body)
        outer = ["Response", "Errors", "Error"] if protocol == "ec2" else ["ErrorResponse", "Error"]
        request_id = "RequestID" if protocol == "ec2" else "RequestId"
        node = root
        if local(root.tag) != outer[0]:
            walker.report(path, f"error in {local(root.tag)} instead of {outer[0]}")
        for name in outer[1:]:
            node = next((c for c in node if local(c.tag) == name), ElementTree.Element("none"))
        if request_id not in [local(child.tag) for child in root]:
            walker.report(path, f"error without {request_id}")
        texts = {local(child.tag): child.text for child in node}
        side = "Sender" if status < 500 else "Receiver"
        if protocol == "query" and texts.get("Type") != side:
            walker.report(path, f"error Type {texts.get('Type')!r} with HTTP status {status}")
        code, message = texts.get("Code"), texts.get("Message")
    if not code:
        walker.report(path, f"error without a code: {body[:200]!r}")
    if not message:
        walker.report(path, f"error {code} without a message")
    return code


def _error_code(walker, operation, code, status, path):
    if not 400 <= status < 600:
        walker.report(path, f"error {code} with HTTP status {status}")
    service = operation.service_model
    if service.metadata["protocol"] == "ec2" or code in COMMON_ERRORS:
        return  # EC2's model documents no errors; its codes are asserted by the tests.
    shape_of = {}
    for shape in service.error_shapes:
        error = shape.metadata.get("error", {})
        for name in {shape.name, error.get("code", shape.name)}:
            shape_of[name] = shape
    if code not in shape_of:
        walker.report(path, f"error code {code} is not in the model")
        return
    documented = {shape.name for shape in operation.error_shapes}
    if shape_of[code].name not in documented:
        walker.report(path, f"error {code} is not documented for this operation")
    wanted = shape_of[code].metadata.get("error", {}).get("httpStatusCode")
    if wanted is not None and wanted != status:
        walker.report(path, f"error {code} with HTTP status {status}, the model says {wanted}")

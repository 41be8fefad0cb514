"""Holds every answer against AWS's own description of it, which botocore carries: no element that the description does
not know, nothing that is required missing, every value of its type."""

import re
import xml.etree.ElementTree as ElementTree

TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$")
NUMBERS = {"integer", "long"}


class Judge:
    """Reads all answers of a client; what is wrong with them is in `faults`, which actions were seen in `seen`."""

    def __init__(self, client):
        self.faults = []
        self.seen = set()
        service = client.meta.service_model.service_name
        client.meta.events.register(f"before-parse.{service}", self.judge)

    def judge(self, operation_model, response_dict, **_):
        self.seen.add(operation_model.name)
        if response_dict["status_code"] >= 300:
            return
        root = ElementTree.fromstring(response_dict["body"])
        name = operation_model.name
        if local(root) != f"{name}Response":
            self.faults.append(f"{name}: the root is {local(root)}")
        shape = operation_model.output_shape
        if operation_model.service_model.protocol == "query":
            root = next(child for child in root if local(child) == f"{name}Result")
            ignored = set()
        else:
            ignored = {"requestId"}
        if shape is None:
            # What has no shape of its own says only that it was done.
            ignored.add("return")
        self.structure(name, shape, root, ignored)

    def structure(self, at, shape, element, ignored=frozenset()):
        members = {} if shape is None else {wire(name, m): m for name, m in shape.members.items()}
        found = set()
        for child in element:
            tag = local(child)
            if tag in ignored:
                continue
            if tag not in members:
                # Some operations answer a bare `return` that their description leaves out.
                if tag != "return":
                    self.faults.append(f"{at}: {tag} is not known")
                continue
            if tag in found:
                self.faults.append(f"{at}: {tag} is there twice")
            found.add(tag)
            self.value(f"{at}.{tag}", members[tag], child)
        required = [] if shape is None else shape.required_members
        for name in required:
            if wire(name, shape.members[name]) not in found:
                self.faults.append(f"{at}: {name} is missing")

    def value(self, at, shape, element):
        text = element.text or ""
        kind = shape.type_name
        if kind == "structure":
            self.structure(at, shape, element)
        elif kind == "list":
            item = shape.member.serialization.get("name", "member")
            for child in element:
                if local(child) != item:
                    self.faults.append(f"{at}: {local(child)} where {item} should be")
                self.value(f"{at}[]", shape.member, child)
        elif len(element):
            self.faults.append(f"{at}: elements where {kind} should be")
        elif kind == "boolean" and text not in ("true", "false"):
            self.faults.append(f"{at}: {text!r} is no boolean")
        elif kind in NUMBERS and not re.match(r"^-?\d+$", text):
            self.faults.append(f"{at}: {text!r} is no number")
        elif kind == "timestamp" and not TIMESTAMP.match(text):
            self.faults.append(f"{at}: {text!r} is no timestamp")
        elif kind == "string" and text and shape.enum and text not in shape.enum and not open_ended(at):
            self.faults.append(f"{at}: {text!r} is none of {', '.join(shape.enum[:8])} ...")


def open_ended(at):
    """Words that a cloud has of its own, which are sizes and pools; and those that AWS itself answers against its description."""
    against = (".internetGatewaySet[].attachmentSet[].state", ".vpcEndpoint.state", ".vpcEndpointSet[].state")
    return at.endswith((".instanceType", "olumeType", *against))


def local(element):
    return element.tag.rsplit("}", 1)[-1]


def wire(name, shape):
    return shape.serialization.get("name", name)

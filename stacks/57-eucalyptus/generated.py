"""For every action that the cloud says it has: requests that are made from AWS's own description of it. What belongs to
another account is not there; what is missing, malformed or unknown is refused with a code of AWS, and never breaks anything."""

import re

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

QUIET = Config(retries={"max_attempts": 1}, parameter_validation=False)
# Of EC2's, by the member that names one.
MALFORMED = {"InstanceId": "InvalidInstanceID.Malformed", "VpcId": "InvalidVpcID.Malformed",
             "SubnetId": "InvalidSubnetID.Malformed", "RouteTableId": "InvalidRouteTableID.Malformed",
             "VolumeId": "InvalidVolumeID.Malformed", "SnapshotId": "InvalidSnapshotID.Malformed",
             "NetworkInterfaceId": "InvalidNetworkInterfaceID.Malformed", "FlowLogId": "InvalidFlowLogId.Malformed",
             "AllocationId": "InvalidAllocationID.Malformed", "VpcEndpointId": "InvalidVpcEndpointId.Malformed"}
# Answer without looking at what they were asked for, as AWS's do.
ECHOES = {"SimulateCustomPolicy", "SimulatePrincipalPolicy"}
# Texts without which nothing would be looked at.
TEXTS = {"PolicyDocument": '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}',
         "CidrBlock": "10.99.0.0/24", "DestinationCidrBlock": "10.99.0.0/24", "PolicyName": "p", "RoleSessionName": "session",
         "SourceRegion": "my-corten-1"}


def sample(shape, name, ids, depth=0):
    """A value of a shape: ids where an id is meant, else something plain."""
    kind = shape.type_name
    if kind == "structure":
        chosen = shape.members if depth == 0 else {n: m for n, m in shape.members.items() if n in shape.required_members
                                                  or ids.get(n)}
        return {n: v for n, m in chosen.items() if (v := sample(m, n, ids, depth + 1)) is not None}
    if kind == "list":
        value = sample(shape.member, name.removesuffix("s"), ids, depth + 1)
        return None if value is None else [value]
    if kind in ("string", "blob"):
        return ids.get(name) or ids.get(name[0].upper() + name[1:])
    return None


def required(shape, name, ids):
    """The least that AWS's description asks for."""
    kind = shape.type_name
    if name == "Tag":
        return {"Key": "a", "Value": "b"}
    if kind == "structure":
        return {n: required(shape.members[n], n, ids) for n in shape.required_members}
    if kind == "list":
        return [required(shape.member, name.removesuffix("s"), ids)]
    if kind in ("integer", "long"):
        return shape.metadata.get("min", 1)
    if kind == "boolean":
        return True
    if kind == "blob":
        return b"x"
    if kind == "timestamp":
        return "2030-01-01T00:00:00Z"
    return ids.get(name) or TEXTS.get(name) or (shape.enum[0] if shape.enum else "x")


class Generated:
    def __init__(self, tools, actions):
        self.check, self.equal, _ = tools
        self.actions = actions
        self.session = botocore.session.get_session()
        self.clients = {}

    def client(self, service, keys=None):
        if (service, bool(keys)) not in self.clients:
            named = {} if keys is None else {"aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]}
            self.clients[service, bool(keys)] = self.session.create_client(service, config=QUIET, **named)
        return self.clients[service, bool(keys)]

    def call(self, client, operation, arguments):
        """What was answered: code and message of a refusal, or the answer."""
        try:
            answer = client._make_api_call(operation, arguments)
            # Some refuse each of several by itself.
            for failed in answer.get("Unsuccessful", []):
                return failed["Error"]["Code"], failed["Error"]["Message"]
            return "", answer
        except ClientError as error:
            found = error.response["Error"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            self.check(f"{operation} breaks nothing", status < 500, f"{status} {found}")
            return found["Code"], found.get("Message", "")

    def operations(self):
        for service, name in self.actions:
            model = self.client(service).meta.service_model.operation_model(name)
            yield service, name, model.input_shape

    def foreign(self, ids, keys):
        """`ids` are of the one account, `keys` of another: nothing of the first is seen or changed by the second."""
        secrets = set(ids.values())
        tried = 0
        for service, name, shape in self.operations():
            if shape is None or name in ECHOES:
                continue
            arguments = sample(shape, "", ids)
            variants = [{}] if name.startswith(("Describe", "List")) else []
            # A name can be had in every account.
            arguments = {n: v for n, v in arguments.items() if not (name.startswith("Create") and n.endswith("Name"))}
            variants += [{**required(shape, "", {}), n: v} for n, v in arguments.items()]
            for variant in variants:
                code, answer = self.call(self.client(service, keys), name, variant)
                tried += 1
                if code:
                    continue
                text = repr({k: v for k, v in answer.items() if k != "ResponseMetadata"})
                seen = [secret for secret in secrets if secret in text and secret not in repr(variant)]
                self.check(f"{name} of another account shows nothing", not seen, f"{variant}: {seen}")
                named = [v for v in secrets if v in repr(variant) and not name.startswith(("Describe", "List"))]
                # Deleting a key pair that is not there is no error, as with AWS.
                self.check(f"{name} does nothing to what is another's", not named or name == "DeleteKeyPair", variant)
        print(f"{tried} requests for what belongs to another account")

    def mistakes(self):
        """What is missing, malformed or unknown."""
        tried = 0
        for service, name, shape in self.operations():
            if shape is None:
                continue
            client = self.client(service)
            whole = required(shape, "", {})
            if "PresignedUrl" in shape.members:
                # Else botocore makes one first, and cannot without what is missing.
                whole["PresignedUrl"] = "x"
            for missing in shape.required_members:
                given = {k: v for k, v in whole.items() if k != missing}
                code, _ = self.call(client, name, given)
                tried += 1
                self.check(f"{name} without {missing} is refused", code, "it succeeded")
            for member, code in MALFORMED.items():
                for argument in (member, member + "s"):
                    if service == "ec2" and argument in shape.members:
                        value = ["web"] if shape.members[argument].type_name == "list" else "web"
                        found, _ = self.call(client, name, {**whole, argument: value})
                        tried += 1
                        self.check(f"{name} with {argument} that is none is refused", found, "it succeeded")
            if "Filters" in shape.members and service == "ec2" and not shape.required_members:
                code, _ = self.call(client, name, {"Filters": [{"Name": "no-such", "Values": ["x"]}]})
                tried += 1
                self.check(f"{name} with an unknown filter", code in ("InvalidParameterValue", "MissingParameter"), code)
            if "MaxResults" in shape.members and not shape.required_members:
                code, _ = self.call(client, name, {"MaxResults": 100000})
                tried += 1
                self.check(f"{name} with a page that is too large is refused", code, "it succeeded")
                code, _ = self.call(client, name, {"NextToken": "?"})
                tried += 1
                self.check(f"{name} with a token that is none is refused", code, "it succeeded")
        print(f"{tried} mistakes")

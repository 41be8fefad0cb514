"""What the programs of this check share: clients, and assertions that count."""

import base64
import hashlib
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL = os.environ["AWS_ENDPOINT_URL"]
CA = os.environ["AWS_CA_BUNDLE"]
REGION = os.environ["AWS_REGION"]
failures = []


def client(service="s3", key=None, secret=None, token=None, **config):
    settings = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, **config)
    return boto3.client(service, config=settings, aws_access_key_id=key, aws_secret_access_key=secret,
                        aws_session_token=token)


def check(what, ok, detail=""):
    if not ok:
        failures.append(what)
        print(f"not so: {what}: {detail}")


def equal(what, found, expected):
    check(what, found == expected, f"{found!r}, not {expected!r}")


def code_of(error):
    return error.response["Error"]["Code"]


def refused(code, call, **arguments):
    """The call is refused with this code; HEAD has no body, so there it is the status."""
    try:
        call(**arguments)
        check(f"{code} of {call.__name__}", False, "it succeeded")
    except ClientError as error:
        equal(f"the code of {call.__name__} {arguments.get('Key', '')}", code_of(error), code)


def md5_of(key):
    """The digest of a key, as headers have it."""
    return base64.b64encode(hashlib.md5(key).digest()).decode()


def empty(s3, bucket):
    """Removes a bucket with everything in it."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"],
                             BypassGovernanceRetention=True)
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for one in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
    s3.delete_bucket(Bucket=bucket)


def end(what):
    if failures:
        sys.exit(f"{len(failures)} assertions failed")
    print(what)

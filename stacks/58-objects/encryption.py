"""Encryption at rest: with the store's key and with keys of the writer's, over ranges, parts and copies."""

import base64
import hashlib
import os
import urllib.request
import ssl

from common import CA, check, client, empty, end, equal, md5_of, refused
from botocore.exceptions import ClientError

B = "sealed"
MIB = 1 << 20
s3 = client()
key, other = os.urandom(32), os.urandom(32)


def customer(key, of=""):
    """The words of a key, as boto3 takes them."""
    return {f"{of}SSECustomerAlgorithm": "AES256", f"{of}SSECustomerKey": key}


def encoded(key, digest_of=None):
    """The same as they are sent, for calls with which boto3 does not encode them, and for a wrong digest."""
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": base64.b64encode(key).decode(),
            "SSECustomerKeyMD5": md5_of(digest_of or key)}


def read(name, **arguments):
    return s3.get_object(Bucket=B, Key=name, **arguments)["Body"].read()


def status(call, **arguments):
    try:
        call(**arguments)
        return 200
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


def with_the_stores_key():
    body = os.urandom(3 * MIB + 7)
    put = s3.put_object(Bucket=B, Key="ours", Body=body, ServerSideEncryption="AES256")
    equal("PUT says how it is kept", put.get("ServerSideEncryption"), "AES256")
    equal("its ETag is the MD5 of the bytes", put["ETag"], f'"{hashlib.md5(body).hexdigest()}"')
    equal("HEAD says it", s3.head_object(Bucket=B, Key="ours").get("ServerSideEncryption"), "AES256")
    check("it is read", read("ours") == body)
    for first, last in [(0, 0), (MIB - 1, MIB), (MIB, MIB), (2 * MIB - 5, 3 * MIB + 6)]:
        check(f"bytes {first} to {last}", read("ours", Range=f"bytes={first}-{last}") == body[first:last + 1])
    refused("InvalidRequest", s3.get_object, Bucket=B, Key="ours", **customer(key))
    refused("NotImplemented", s3.put_object, Bucket=B, Key="kms", Body=b"", ServerSideEncryption="aws:kms")
    refused("InvalidArgument", s3.put_object, Bucket=B, Key="both", Body=b"", ServerSideEncryption="AES256",
            **customer(key))


def with_a_key_of_the_writers():
    body = os.urandom(2 * MIB + 1)
    put = s3.put_object(Bucket=B, Key="theirs", Body=body, **customer(key))
    equal("PUT says the algorithm", put.get("SSECustomerAlgorithm"), "AES256")
    equal("and the key's digest", put.get("SSECustomerKeyMD5"), md5_of(key))
    check("its ETag is not the MD5 of the bytes", hashlib.md5(body).hexdigest() not in put["ETag"])
    check("it is read with the key", read("theirs", **customer(key)) == body)
    check("over a border of blocks",
          read("theirs", Range=f"bytes={MIB - 3}-{MIB + 3}", **customer(key)) == body[MIB - 3:MIB + 4])
    equal("HEAD with the key", s3.head_object(Bucket=B, Key="theirs", **customer(key))["ContentLength"], len(body))
    refused("InvalidRequest", s3.get_object, Bucket=B, Key="theirs")
    refused("AccessDenied", s3.get_object, Bucket=B, Key="theirs", **customer(other))
    equal("HEAD without it", status(s3.head_object, Bucket=B, Key="theirs"), 400)
    equal("HEAD with another", status(s3.head_object, Bucket=B, Key="theirs", **customer(other)), 403)
    refused("InvalidArgument", s3.put_object, Bucket=B, Key="short", Body=b"", **customer(os.urandom(16)))
    refused("InvalidArgument", s3.put_object, Bucket=B, Key="digest", Body=b"", **encoded(key, digest_of=other))
    refused("InvalidEncryptionAlgorithmError", s3.put_object, Bucket=B, Key="des", Body=b"",
            SSECustomerAlgorithm="DES", SSECustomerKey=key)
    s3.put_object(Bucket=B, Key="empty", Body=b"", **customer(key))
    refused("AccessDenied", s3.get_object, Bucket=B, Key="empty", **customer(other))
    attributes = s3.get_object_attributes(Bucket=B, Key="theirs", ObjectAttributes=["ObjectSize"], **encoded(key))
    equal("its attributes, with the key", attributes["ObjectSize"], len(body))
    refused("InvalidRequest", s3.get_object_attributes, Bucket=B, Key="theirs", ObjectAttributes=["ObjectSize"])


def in_parts():
    first, second = os.urandom(5 * MIB + 3), os.urandom(MIB)
    for name, words in [("parts-ours", {"ServerSideEncryption": "AES256"}), ("parts-theirs", customer(key))]:
        of_part = {} if name == "parts-ours" else customer(key)
        upload = s3.create_multipart_upload(Bucket=B, Key=name, **words)["UploadId"]
        at = {"Bucket": B, "Key": name, "UploadId": upload}
        if of_part:
            refused("InvalidRequest", s3.upload_part, **at, PartNumber=1, Body=first)
            refused("InvalidRequest", s3.upload_part, **at, PartNumber=1, Body=first, **customer(other))
        else:
            refused("InvalidRequest", s3.upload_part, **at, PartNumber=1, Body=first, **customer(key))
        parts = []
        for number, body in [(1, first), (2, second)]:
            part = s3.upload_part(**at, PartNumber=number, Body=body, **of_part)
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        s3.complete_multipart_upload(**at, MultipartUpload={"Parts": parts})
        check(f"{name} is read", read(name, **of_part) == first + second)
        border = len(first)
        check(f"{name} over the border of its parts",
              read(name, Range=f"bytes={border - 9}-{border + 9}", **of_part)
              == (first + second)[border - 9:border + 10])
        check(f"part 2 of {name}", read(name, PartNumber=2, **of_part) == second)


def copies():
    source = {"Bucket": B, "Key": "theirs"}
    body = read("theirs", **customer(key))
    refused("InvalidRequest", s3.copy_object, Bucket=B, Key="copy", CopySource=source)
    refused("AccessDenied", s3.copy_object, Bucket=B, Key="copy", CopySource=source, **customer(other, "CopySource"))
    s3.copy_object(Bucket=B, Key="copy", CopySource=source, **customer(key, "CopySource"))
    check("a copy without a key", read("copy") == body)
    s3.copy_object(Bucket=B, Key="copy", CopySource=source, **customer(key, "CopySource"), **customer(other))
    check("a copy with another key", read("copy", **customer(other)) == body)
    s3.copy_object(Bucket=B, Key="copy", CopySource=source, **customer(key, "CopySource"),
                   ServerSideEncryption="AES256")
    equal("a copy with the store's key", s3.head_object(Bucket=B, Key="copy").get("ServerSideEncryption"), "AES256")
    check("is the same", read("copy") == body)
    at = {"Bucket": B, "Key": "copied-part"}
    upload = s3.create_multipart_upload(**at, **customer(other))["UploadId"]
    part = s3.upload_part_copy(**at, UploadId=upload, PartNumber=1, CopySource=source, CopySourceRange="bytes=10-99",
                               **customer(key, "CopySource"), **customer(other))
    parts = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
    s3.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})
    check("a part that is a copy", read("copied-part", **customer(other)) == body[10:100])


def of_buckets():
    refused("ServerSideEncryptionConfigurationNotFoundError", s3.get_bucket_encryption, Bucket=B)
    by_default = lambda algorithm: {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm}}]}
    refused("NotImplemented", s3.put_bucket_encryption, Bucket=B,
            ServerSideEncryptionConfiguration=by_default("aws:kms"))
    s3.put_bucket_encryption(Bucket=B, ServerSideEncryptionConfiguration=by_default("AES256"))
    rules = s3.get_bucket_encryption(Bucket=B)["ServerSideEncryptionConfiguration"]["Rules"]
    equal("the bucket's default", rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256")
    put = s3.put_object(Bucket=B, Key="default", Body=b"x")
    equal("holds of what says nothing", put.get("ServerSideEncryption"), "AES256")
    s3.delete_bucket_encryption(Bucket=B)
    put = s3.put_object(Bucket=B, Key="default", Body=b"x")
    equal("and then no longer", put.get("ServerSideEncryption"), None)


def presigned():
    words = {"SSECustomerAlgorithm": "AES256"}
    url = s3.generate_presigned_url("get_object", Params={"Bucket": B, "Key": "theirs", **words})
    headers = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}
    equal("a URL without the key", code(url, headers), 400)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": B, "Key": "theirs", **encoded(key)})
    brought = {**headers, "x-amz-server-side-encryption-customer-key": base64.b64encode(key).decode(),
               "x-amz-server-side-encryption-customer-key-md5": md5_of(key)}
    equal("a URL whose headers bring the key", code(url, brought), 200)


def code(url, headers):
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=CA)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


s3.create_bucket(Bucket=B)
with_the_stores_key()
with_a_key_of_the_writers()
in_parts()
copies()
of_buckets()
presigned()
empty(s3, B)
end("keys of the store and of writers, ranges over blocks and parts, copies, defaults of buckets")

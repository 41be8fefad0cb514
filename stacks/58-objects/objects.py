"""Objects through boto3: conditions, ranges, versions, checksums, uploads in parts, copies, tags, locks, lists."""

import base64
import datetime
import hashlib
import os
import zlib

from common import check, client, empty, end, equal, refused

s3 = client()
B = "objects-1"
MIB = 1 << 20


def body(key, **more):
    return s3.get_object(Bucket=B, Key=key, **more)["Body"].read()


def conditions():
    first = s3.put_object(Bucket=B, Key="k", Body=b"one", IfNoneMatch="*")
    refused("PreconditionFailed", s3.put_object, Bucket=B, Key="k", Body=b"x", IfNoneMatch="*")
    refused("PreconditionFailed", s3.put_object, Bucket=B, Key="k", Body=b"x", IfMatch='"0"')
    refused("NoSuchKey", s3.put_object, Bucket=B, Key="none", Body=b"x", IfMatch='"0"')
    s3.put_object(Bucket=B, Key="k", Body=b"two", IfMatch=first["ETag"])
    equal("what was written last", body("k"), b"two")
    etag = s3.head_object(Bucket=B, Key="k")["ETag"]
    equal("an ETag is the MD5", etag, f'"{hashlib.md5(b"two").hexdigest()}"')
    refused("304", s3.get_object, Bucket=B, Key="k", IfNoneMatch=etag)
    refused("PreconditionFailed", s3.get_object, Bucket=B, Key="k", IfMatch='"0"')
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    refused("304", s3.get_object, Bucket=B, Key="k", IfModifiedSince=later)
    equal("not modified since", body("k", IfUnmodifiedSince=later), b"two")
    refused("NoSuchKey", s3.get_object, Bucket=B, Key="nothing")
    refused("404", s3.head_object, Bucket=B, Key="nothing")
    refused("NoSuchBucket", s3.get_object, Bucket="no-such-bucket", Key="k")


def metadata():
    s3.put_object(Bucket=B, Key="meta", Body=b"x", ContentType="text/x-a", CacheControl="no-cache", ContentEncoding="br",
                  ContentDisposition="attachment", ContentLanguage="de", Metadata={"who": "me"}, Tagging="a=1&b=2%203")
    found = s3.head_object(Bucket=B, Key="meta")
    kept = {name: found.get(name) for name in ("ContentType", "CacheControl", "ContentEncoding", "ContentDisposition",
                                               "ContentLanguage", "Metadata")}
    equal("what was said of it", kept, {"ContentType": "text/x-a", "CacheControl": "no-cache", "ContentEncoding": "br",
          "ContentDisposition": "attachment", "ContentLanguage": "de", "Metadata": {"who": "me"}})
    found = s3.get_object(Bucket=B, Key="meta", ResponseContentType="text/y", ResponseContentDisposition="inline")
    equal("overridden", (found["ContentType"], found["ContentDisposition"]), ("text/y", "inline"))
    equal("tags are counted", found["TagCount"], 2)
    tags = {t["Key"]: t["Value"] for t in s3.get_object_tagging(Bucket=B, Key="meta")["TagSet"]}
    equal("tags", tags, {"a": "1", "b": "2 3"})
    s3.put_object_tagging(Bucket=B, Key="meta", Tagging={"TagSet": [{"Key": "c", "Value": "4"}]})
    equal("new tags", s3.get_object_tagging(Bucket=B, Key="meta")["TagSet"], [{"Key": "c", "Value": "4"}])
    s3.delete_object_tagging(Bucket=B, Key="meta")
    equal("no tags", s3.get_object_tagging(Bucket=B, Key="meta")["TagSet"], [])
    many = [{"Key": str(n), "Value": ""} for n in range(11)]
    refused("InvalidTag", s3.put_object_tagging, Bucket=B, Key="meta", Tagging={"TagSet": many})
    refused("NotImplemented", s3.put_object, Bucket=B, Key="meta", Body=b"", ServerSideEncryption="aws:kms")
    refused("InvalidStorageClass", s3.put_object, Bucket=B, Key="meta", Body=b"", StorageClass="GLACIER")
    refused("AccessControlListNotSupported", s3.put_object, Bucket=B, Key="meta", Body=b"", ACL="public-read")


def ranges():
    data = os.urandom(3 * MIB + 17)
    s3.put_object(Bucket=B, Key="r", Body=data)
    for text, expected in (("bytes=0-9", data[:10]), ("bytes=-5", data[-5:]), ("bytes=3145728-", data[3 * MIB:]),
                           ("bytes=1048570-1048590", data[MIB - 6:MIB + 15]), ("bytes=5-99999999", data[5:])):
        found = s3.get_object(Bucket=B, Key="r", Range=text)
        equal(f"{text}", found["Body"].read(), expected)
        equal(f"status of {text}", found["ResponseMetadata"]["HTTPStatusCode"], 206)
    equal("Content-Range", s3.get_object(Bucket=B, Key="r", Range="bytes=1-2")["ContentRange"], f"bytes 1-2/{len(data)}")
    refused("InvalidRange", s3.get_object, Bucket=B, Key="r", Range="bytes=99999999-")
    equal("the one part", body("r", PartNumber=1), data)


def checksums():
    data = b"checked"
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    sha = base64.b64encode(hashlib.sha256(data).digest()).decode()
    equal("CRC32", s3.put_object(Bucket=B, Key="c", Body=data, ChecksumAlgorithm="CRC32")["ChecksumCRC32"], crc)
    equal("kept", s3.head_object(Bucket=B, Key="c", ChecksumMode="ENABLED")["ChecksumCRC32"], crc)
    equal("and checked by the client", s3.get_object(Bucket=B, Key="c", ChecksumMode="ENABLED")["Body"].read(), data)
    s3.put_object(Bucket=B, Key="c", Body=data, ChecksumSHA256=sha)
    refused("BadDigest", s3.put_object, Bucket=B, Key="c", Body=b"other", ChecksumSHA256=sha)
    refused("BadDigest", s3.put_object, Bucket=B, Key="c", Body=b"other", ContentMD5=base64.b64encode(bytes(16)).decode())
    equal("it is as it was", body("c"), data)
    found = s3.get_object_attributes(Bucket=B, Key="c", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"])
    equal("attributes", (found["Checksum"]["ChecksumSHA256"], found["ObjectSize"], found["ETag"].strip('"'), found["StorageClass"]),
          (sha, len(data), hashlib.md5(data).hexdigest(), "STANDARD"))


def upload(key, sizes, seed=1, **more):
    id_ = s3.create_multipart_upload(Bucket=B, Key=key, **more)["UploadId"]
    parts, whole = [], b""
    for number, size in enumerate(sizes, 1):
        data = bytes([seed + number]) * size
        whole += data
        algorithm = {"ChecksumAlgorithm": more["ChecksumAlgorithm"]} if "ChecksumAlgorithm" in more else {}
        made = s3.upload_part(Bucket=B, Key=key, UploadId=id_, PartNumber=number, Body=data, **algorithm)
        sums = {name: made[name] for name in made if name == f"Checksum{more.get('ChecksumAlgorithm')}"}
        parts.append({"PartNumber": number, "ETag": made["ETag"], **sums})
    return id_, parts, whole


def in_parts():
    for algorithm, kind in ((None, None), ("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("SHA256", "COMPOSITE")):
        more = {"ChecksumAlgorithm": algorithm, "ChecksumType": kind} if algorithm else {}
        id_, parts, whole = upload("m", (5 * MIB, 5 * MIB + 3, 100), Metadata={"a": "b"}, **more)
        done = s3.complete_multipart_upload(Bucket=B, Key="m", UploadId=id_, MultipartUpload={"Parts": parts})
        md5 = hashlib.md5(b"".join(hashlib.md5(p).digest() for p in (whole[:5 * MIB], whole[5 * MIB:-100], whole[-100:])))
        equal(f"ETag {algorithm} {kind}", done["ETag"], f'"{md5.hexdigest()}-3"')
        found = s3.get_object(Bucket=B, Key="m", ChecksumMode="ENABLED")
        check(f"bytes {algorithm} {kind}", found["Body"].read() == whole)
        equal("metadata of it", found["Metadata"], {"a": "b"})
        if not algorithm:
            client(request_checksum_calculation="when_required").put_object(Bucket=B, Key="at once", Body=whole)
            equal("CRC64NVME of parts is that of all", found["ChecksumCRC64NVME"],
                  s3.head_object(Bucket=B, Key="at once", ChecksumMode="ENABLED")["ChecksumCRC64NVME"])
        if algorithm:
            equal("the kind of checksum", found["ChecksumType"], kind)
        if (algorithm, kind) == ("CRC32", "FULL_OBJECT"):
            equal("CRC32 of all", found["ChecksumCRC32"], base64.b64encode(zlib.crc32(whole).to_bytes(4, "big")).decode())
        if algorithm == "SHA256":
            sums = b"".join(hashlib.sha256(p).digest() for p in (whole[:5 * MIB], whole[5 * MIB:-100], whole[-100:]))
            of_sums = base64.b64encode(hashlib.sha256(sums).digest()).decode()
            check("SHA-256 of the parts", found["ChecksumSHA256"] == f"{of_sums}-3", found["ChecksumSHA256"])
    part = s3.get_object(Bucket=B, Key="m", PartNumber=3)
    equal("the last part", (part["Body"].read(), part["PartsCount"]), (whole[-100:], 3))
    listed = s3.get_object_attributes(Bucket=B, Key="m", ObjectAttributes=["ObjectParts"])["ObjectParts"]
    equal("parts are listed", [p["Size"] for p in listed["Parts"]], [5 * MIB, 5 * MIB + 3, 100])

    id_, parts, _ = upload("bad", (100, 100))
    refused("EntityTooSmall", s3.complete_multipart_upload, Bucket=B, Key="bad", UploadId=id_, MultipartUpload={"Parts": parts})
    refused("InvalidPartOrder", s3.complete_multipart_upload, Bucket=B, Key="bad", UploadId=id_,
            MultipartUpload={"Parts": parts[::-1]})
    wrong = [{"PartNumber": 1, "ETag": '"00000000000000000000000000000000"'}]
    refused("InvalidPart", s3.complete_multipart_upload, Bucket=B, Key="bad", UploadId=id_, MultipartUpload={"Parts": wrong})
    page = s3.list_parts(Bucket=B, Key="bad", UploadId=id_, MaxParts=1)
    equal("a page of parts", ([p["PartNumber"] for p in page["Parts"]], page["IsTruncated"], page["NextPartNumberMarker"]),
          ([1], True, 1))
    other = s3.create_multipart_upload(Bucket=B, Key="dir/other")["UploadId"]
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=B, PaginationConfig={"PageSize": 1})
    equal("uploads", sorted(u["UploadId"] for p in pages for u in p.get("Uploads", [])), sorted([id_, other]))
    grouped = s3.list_multipart_uploads(Bucket=B, Delimiter="/")
    equal("in folders", [p["Prefix"] for p in grouped["CommonPrefixes"]], ["dir/"])
    s3.abort_multipart_upload(Bucket=B, Key="bad", UploadId=id_)
    s3.abort_multipart_upload(Bucket=B, Key="dir/other", UploadId=other)
    refused("NoSuchUpload", s3.list_parts, Bucket=B, Key="bad", UploadId=id_)
    refused("NoSuchUpload", s3.upload_part, Bucket=B, Key="bad", UploadId=id_, PartNumber=1, Body=b"x")
    refused("404", s3.head_object, Bucket=B, Key="bad")


def copies():
    data = os.urandom(11 * MIB)
    s3.put_object(Bucket=B, Key="from", Body=data, Metadata={"a": "1"}, ContentType="text/a", Tagging="t=1")
    source = {"Bucket": B, "Key": "from"}
    s3.copy_object(Bucket=B, Key="to", CopySource=source)
    found = s3.get_object(Bucket=B, Key="to")
    check("a copy", found["Body"].read() == data)
    equal("with its metadata", (found["Metadata"], found["ContentType"], found["TagCount"]), ({"a": "1"}, "text/a", 1))
    s3.copy_object(Bucket=B, Key="to", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"},
                   ContentType="text/b", TaggingDirective="REPLACE", Tagging="u=2&v=3")
    found = s3.head_object(Bucket=B, Key="to")
    equal("with other metadata", (found["Metadata"], found["ContentType"]), ({"b": "2"}, "text/b"))
    equal("and tags", len(s3.get_object_tagging(Bucket=B, Key="to")["TagSet"]), 2)
    made = s3.copy_object(Bucket=B, Key="to", CopySource=source, ChecksumAlgorithm="SHA256")["CopyObjectResult"]
    equal("with a checksum", made["ChecksumSHA256"], base64.b64encode(hashlib.sha256(data).digest()).decode())
    etag = s3.head_object(Bucket=B, Key="from")["ETag"]
    s3.copy_object(Bucket=B, Key="to", CopySource=source, CopySourceIfMatch=etag)
    refused("PreconditionFailed", s3.copy_object, Bucket=B, Key="to", CopySource=source, CopySourceIfNoneMatch=etag)
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    refused("PreconditionFailed", s3.copy_object, Bucket=B, Key="to", CopySource=source, CopySourceIfModifiedSince=later)
    refused("InvalidRequest", s3.copy_object, Bucket=B, Key="from", CopySource=source)
    refused("NoSuchKey", s3.copy_object, Bucket=B, Key="to", CopySource={"Bucket": B, "Key": "none"})
    id_ = s3.create_multipart_upload(Bucket=B, Key="joined")["UploadId"]
    parts = []
    for number, text in ((1, "bytes=0-6291455"), (2, "bytes=6291456-11534335")):
        made = s3.upload_part_copy(Bucket=B, Key="joined", UploadId=id_, PartNumber=number, CopySource=source, CopySourceRange=text)
        parts.append({"PartNumber": number, "ETag": made["CopyPartResult"]["ETag"]})
    refused("InvalidArgument", s3.upload_part_copy, Bucket=B, Key="joined", UploadId=id_, PartNumber=3, CopySource=source,
            CopySourceRange="bytes=0-99999999")
    s3.complete_multipart_upload(Bucket=B, Key="joined", UploadId=id_, MultipartUpload={"Parts": parts})
    check("copied in parts", body("joined") == data)


def versions():
    s3.put_object(Bucket=B, Key="v", Body=b"before")
    s3.put_bucket_versioning(Bucket=B, VersioningConfiguration={"Status": "Enabled"})
    equal("versioning is on", s3.get_bucket_versioning(Bucket=B)["Status"], "Enabled")
    ids = [s3.put_object(Bucket=B, Key="v", Body=text)["VersionId"] for text in (b"one", b"two", b"three")]
    equal("an older one", body("v", VersionId=ids[0]), b"one")
    equal("the one from before", body("v", VersionId="null"), b"before")
    gone = s3.delete_object(Bucket=B, Key="v")
    check("a marker", gone["DeleteMarker"] and gone["VersionId"] not in ids)
    refused("NoSuchKey", s3.get_object, Bucket=B, Key="v")
    refused("MethodNotAllowed", s3.get_object, Bucket=B, Key="v", VersionId=gone["VersionId"])
    refused("NoSuchVersion", s3.get_object, Bucket=B, Key="v", VersionId="0" * 32)
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=B, Prefix="v", PaginationConfig={"PageSize": 2}))
    listed = [v["VersionId"] for p in pages for v in p.get("Versions", [])]
    equal("all versions, newest first", listed, [*ids[::-1], "null"])
    equal("and the marker", [m["IsLatest"] for p in pages for m in p.get("DeleteMarkers", [])], [True])
    equal("a list shows nothing", s3.list_objects_v2(Bucket=B, Prefix="v")["KeyCount"], 0)
    s3.delete_object(Bucket=B, Key="v", VersionId=gone["VersionId"])
    equal("without the marker it is there again", body("v"), b"three")
    s3.copy_object(Bucket=B, Key="v", CopySource={"Bucket": B, "Key": "v", "VersionId": ids[0]})
    equal("an old version is the newest again", body("v"), b"one")
    s3.put_bucket_versioning(Bucket=B, VersioningConfiguration={"Status": "Suspended"})
    made = s3.put_object(Bucket=B, Key="v", Body=b"plain")
    check("no version when it is suspended", made.get("VersionId") in (None, "null"), made.get("VersionId"))
    equal("those from before stay", body("v", VersionId=ids[1]), b"two")


def many():
    keys = [{"Key": f"many/{n:04}"} for n in range(25)]
    for key in keys:
        s3.put_object(Bucket=B, Body=b"", **key)
    odd = ["odd/ä ö", "odd/a+b", "odd/a%2Fb", "odd/<&>", "odd/\u0001", "odd/😀", "odd/a//b", "odd/..", "odd/'\"", "odd/ "]
    for key in odd:
        s3.put_object(Bucket=B, Key=key, Body=key.encode())
    for key in odd:
        equal(f"{key!r}", body(key), key.encode())
    equal("odd keys are listed", {o["Key"] for o in s3.list_objects_v2(Bucket=B, Prefix="odd/")["Contents"]}, set(odd))
    for name in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(name).paginate(Bucket=B, Prefix="many/", PaginationConfig={"PageSize": 7})
        equal(name, [{"Key": o["Key"]} for p in pages for o in p["Contents"]], keys)
        pages = list(s3.get_paginator(name).paginate(Bucket=B, Delimiter="/", PaginationConfig={"PageSize": 2}))
        prefixes = [c["Prefix"] for p in pages for c in p.get("CommonPrefixes", [])]
        equal(f"folders of {name}", prefixes, ["many/", "odd/"])
    equal("after a key", s3.list_objects_v2(Bucket=B, Prefix="many/", StartAfter="many/0020")["KeyCount"], 4)
    gone = s3.delete_objects(Bucket=B, Delete={"Objects": keys + [{"Key": "never/was"}]})
    equal("deleted together", (len(gone["Deleted"]), gone.get("Errors")), (26, None))


def locks():
    bucket = "objects-2"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    equal("it can be locked", s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]["ObjectLockEnabled"],
          "Enabled")
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    held = s3.put_object(Bucket=bucket, Key="l", Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    one = {"Bucket": bucket, "Key": "l", "VersionId": held["VersionId"]}
    refused("AccessDenied", s3.delete_object, **one)
    equal("its retention", s3.get_object_retention(**one)["Retention"]["Mode"], "GOVERNANCE")
    s3.put_object_legal_hold(**one, LegalHold={"Status": "ON"})
    refused("AccessDenied", s3.delete_object, **one, BypassGovernanceRetention=True)
    s3.put_object_legal_hold(**one, LegalHold={"Status": "OFF"})
    s3.delete_object(**one, BypassGovernanceRetention=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule})
    made = s3.put_object(Bucket=bucket, Key="d", Body=b"x")
    equal("locked by default", s3.head_object(Bucket=bucket, Key="d")["ObjectLockMode"], "GOVERNANCE")
    refused("AccessDenied", s3.delete_object, Bucket=bucket, Key="d", VersionId=made["VersionId"])
    refused("InvalidRequest", s3.put_object, Bucket=B, Key="l", Body=b"x", ObjectLockMode="GOVERNANCE",
            ObjectLockRetainUntilDate=until)
    refused("ObjectLockConfigurationNotFoundError", s3.get_object_lock_configuration, Bucket=B)
    empty(s3, bucket)


s3.create_bucket(Bucket=B)
for part in (conditions, metadata, ranges, checksums, in_parts, copies, many, versions, locks):
    part()
empty(s3, B)
end("conditions, metadata, ranges, checksums, parts, copies, lists, versions, locks")

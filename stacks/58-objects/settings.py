"""Settings of buckets, and who may do what: policies, users of IAM, their sessions, other accounts, browsers."""

import datetime
import json
import os
import time
import urllib.parse
import urllib.request
import ssl

from botocore.exceptions import ClientError

from common import CA, URL, check, client, code_of, empty, end, equal, refused

s3, iam, sts = client(), client("iam"), client("sts")
other = client(key=os.environ["OTHER_KEY_ID"], secret=os.environ["OTHER_SECRET"])
B = "settings-1"
ARN = f"arn:aws:s3:::{B}"
account = sts.get_caller_identity()["Account"]
tls = ssl.create_default_context(cafile=CA)


def plain(method, path, headers=None, body=None):
    """A request that nobody signed: its status, its headers and what it says."""
    request = urllib.request.Request(URL + path, method=method, headers=headers or {}, data=body)
    try:
        answer = urllib.request.urlopen(request, context=tls)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, answer.headers, answer.read()


def not_set():
    for code, call in (
        ("NoSuchBucketPolicy", s3.get_bucket_policy), ("NoSuchCORSConfiguration", s3.get_bucket_cors),
        ("NoSuchWebsiteConfiguration", s3.get_bucket_website),
        ("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration),
        ("ReplicationConfigurationNotFoundError", s3.get_bucket_replication),
        ("ServerSideEncryptionConfigurationNotFoundError", s3.get_bucket_encryption),
        ("ObjectLockConfigurationNotFoundError", s3.get_object_lock_configuration),
        ("NoSuchTagSet", s3.get_bucket_tagging), ("NoSuchPublicAccessBlockConfiguration", s3.get_public_access_block),
    ):
        try:
            call(Bucket=B)
            check(code, False, "it succeeded")
        except ClientError as error:
            equal(code, (code_of(error), error.response["ResponseMetadata"]["HTTPStatusCode"]), (code, 404))
    check("no logging", "LoggingEnabled" not in s3.get_bucket_logging(Bucket=B))
    check("no acceleration", "Status" not in s3.get_bucket_accelerate_configuration(Bucket=B))
    equal("who pays", s3.get_bucket_request_payment(Bucket=B)["Payer"], "BucketOwner")
    check("no notifications", "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=B))
    check("no versioning", "Status" not in s3.get_bucket_versioning(Bucket=B))
    grants = s3.get_bucket_acl(Bucket=B)
    equal("the owner's grant", [(g["Permission"], g["Grantee"]["ID"]) for g in grants["Grants"]],
          [("FULL_CONTROL", grants["Owner"]["ID"])])
    s3.put_bucket_acl(Bucket=B, ACL="private")
    refused("AccessControlListNotSupported", s3.put_bucket_acl, Bucket=B, ACL="public-read")
    refused("NotImplemented", s3.put_bucket_accelerate_configuration, Bucket=B, AccelerateConfiguration={"Status": "Enabled"})
    refused("BucketAlreadyOwnedByYou", s3.create_bucket, Bucket=B)
    refused("BucketAlreadyExists", other.create_bucket, Bucket=B)
    refused("AccessDenied", s3.list_objects_v2, Bucket=B, ExpectedBucketOwner="111111111111")
    s3.list_objects_v2(Bucket=B, ExpectedBucketOwner=account)


def tags():
    s3.put_bucket_tagging(Bucket=B, Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    equal("tags", s3.get_bucket_tagging(Bucket=B)["TagSet"], [{"Key": "a", "Value": "1"}])
    s3.delete_bucket_tagging(Bucket=B)
    refused("NoSuchTagSet", s3.get_bucket_tagging, Bucket=B)


def lifecycle():
    rules = [
        {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "old/"},
         "Expiration": {"Date": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)}},
        {"ID": "parts", "Status": "Enabled", "Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
        {"ID": "both", "Status": "Disabled", "Filter": {"And": {"Prefix": "x/", "Tags": [{"Key": "a", "Value": "1"}]}},
         "NoncurrentVersionExpiration": {"NoncurrentDays": 3}},
    ]
    for key in ("old/1", "old/2", "new/1"):
        s3.put_object(Bucket=B, Key=key, Body=b"x")
    s3.put_bucket_lifecycle_configuration(Bucket=B, LifecycleConfiguration={"Rules": rules})
    equal("rules", s3.get_bucket_lifecycle_configuration(Bucket=B)["Rules"], rules)
    move = [{"ID": "cold", "Status": "Enabled", "Filter": {"Prefix": ""}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}]
    refused("InvalidStorageClass", s3.put_bucket_lifecycle_configuration, Bucket=B, LifecycleConfiguration={"Rules": move})
    deadline = time.monotonic() + 40
    while s3.list_objects_v2(Bucket=B, Prefix="old/")["KeyCount"] and time.monotonic() < deadline:
        time.sleep(0.5)
    equal("what has expired is gone", s3.list_objects_v2(Bucket=B)["KeyCount"], 1)
    s3.delete_bucket_lifecycle(Bucket=B)
    refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, Bucket=B)


def cors():
    s3.put_object(Bucket=B, Key="page", Body=b"x")
    rules = [{"AllowedOrigins": ["https://*.example.com"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["x-amz-*"],
              "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60}]
    s3.put_bucket_cors(Bucket=B, CORSConfiguration={"CORSRules": rules})
    equal("rules of CORS", s3.get_bucket_cors(Bucket=B)["CORSRules"], rules)
    asks = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "x-amz-date"}
    status, headers, _ = plain("OPTIONS", f"/{B}/page", asks)
    equal("a page is let in", (status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Max-Age"]),
          (200, "https://a.example.com", "60"))
    status, headers, said = plain("OPTIONS", f"/{B}/page", asks | {"Origin": "https://example.org"})
    equal("another is not", (status, headers["Access-Control-Allow-Origin"]), (403, None))
    url = s3.generate_presigned_url("get_object", Params={"Bucket": B, "Key": "page"})
    status, headers, _ = plain("GET", url[len(URL):], {"Origin": "https://a.example.com"})
    equal("an answer that it may read", (status, headers["Access-Control-Expose-Headers"]), (200, "ETag"))
    s3.delete_bucket_cors(Bucket=B)
    refused("NoSuchCORSConfiguration", s3.get_bucket_cors, Bucket=B)


def allow(action, resource, principal="*", effect="Allow", **more):
    return {"Effect": effect, "Principal": principal, "Action": action, "Resource": resource} | more


def set_policy(*statements):
    s3.put_bucket_policy(Bucket=B, Policy=json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))


def everyone():
    s3.put_object(Bucket=B, Key="open/a", Body=b"open")
    s3.put_object(Bucket=B, Key="closed", Body=b"closed")
    equal("nobody", plain("GET", f"/{B}/open/a")[0], 403)
    refused("MalformedPolicy", s3.put_bucket_policy, Bucket=B, Policy='{"Statement": [{"Effect": "Perhaps"}]}')
    foreign = json.dumps({"Statement": allow("s3:GetObject", "arn:aws:s3:::another/*")})
    refused("MalformedPolicy", s3.put_bucket_policy, Bucket=B, Policy=foreign)
    set_policy(allow("s3:GetObject", f"{ARN}/open/*"))
    check("it is public", s3.get_bucket_policy_status(Bucket=B)["PolicyStatus"]["IsPublic"])
    status, _, said = plain("GET", f"/{B}/open/a")
    equal("everyone reads", (status, said), (200, b"open"))
    for method, path in (("GET", "closed"), ("PUT", "open/a"), ("DELETE", "open/a"), ("GET", ""), ("GET", "?policy")):
        equal(f"but nothing else: {method} {path}", plain(method, f"/{B}/{path}")[0], 403)
    equal("of another bucket neither", plain("GET", "/no-such-bucket/k")[0], 403)
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}
    s3.put_public_access_block(Bucket=B, PublicAccessBlockConfiguration=block | {"BlockPublicPolicy": False})
    equal("blocked", plain("GET", f"/{B}/open/a")[0], 403)
    s3.delete_bucket_policy(Bucket=B)
    s3.put_public_access_block(Bucket=B, PublicAccessBlockConfiguration=block)
    equal("its switches", s3.get_public_access_block(Bucket=B)["PublicAccessBlockConfiguration"], block)
    refused("AccessDenied", s3.put_bucket_policy, Bucket=B,
            Policy=json.dumps({"Statement": allow("s3:GetObject", f"{ARN}/*")}))
    s3.delete_public_access_block(Bucket=B)


def accounts():
    others = client("sts", key=os.environ["OTHER_KEY_ID"], secret=os.environ["OTHER_SECRET"]).get_caller_identity()["Account"]
    refused("NoSuchBucket", other.get_object, Bucket=B, Key="closed")
    refused("404", other.head_bucket, Bucket=B)
    set_policy(allow(["s3:GetObject", "s3:ListBucket"], [ARN, f"{ARN}/*"], {"AWS": f"arn:aws:iam::{others}:root"}))
    equal("another account reads", other.get_object(Bucket=B, Key="closed")["Body"].read(), b"closed")
    refused("NoSuchBucket", other.put_object, Bucket=B, Key="closed", Body=b"x")
    other.create_bucket(Bucket="others-1")
    other.copy_object(Bucket="others-1", Key="k", CopySource={"Bucket": B, "Key": "closed"})
    refused("NoSuchBucket", s3.copy_object, Bucket=B, Key="k", CopySource={"Bucket": "others-1", "Key": "k"})
    empty(other, "others-1")
    set_policy(allow("s3:*", [ARN, f"{ARN}/*"], effect="Deny"))
    refused("AccessDenied", s3.get_object, Bucket=B, Key="closed")
    s3.delete_bucket_policy(Bucket=B)
    equal("a policy that locks out can be taken away", s3.get_object(Bucket=B, Key="closed")["Body"].read(), b"closed")


def users():
    iam.create_user(UserName="reader")
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    reader = client(key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    read = {"Bucket": B, "Key": "open/a"}
    refused("AccessDenied", reader.get_object, **read)
    own = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{ARN}/open/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": ARN, "Condition": {"StringLike": {"s3:prefix": "open/*"}}},
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{ARN}/mine/${{aws:username}}/*"},
    ]}
    iam.put_user_policy(UserName="reader", PolicyName="own", PolicyDocument=json.dumps(own))
    equal("what the policy says", reader.get_object(**read)["Body"].read(), b"open")
    equal("and lists", reader.list_objects_v2(Bucket=B, Prefix="open/")["KeyCount"], 1)
    reader.put_object(Bucket=B, Key="mine/reader/x", Body=b"x")
    refused("AccessDenied", reader.put_object, Bucket=B, Key="mine/else/x", Body=b"x")
    refused("AccessDenied", reader.list_objects_v2, Bucket=B)
    refused("AccessDenied", reader.get_object, Bucket=B, Key="closed")
    refused("AccessDenied", reader.delete_object, **read)
    refused("AccessDenied", reader.list_buckets)
    refused("AccessDenied", reader.create_bucket, Bucket="readers-1")
    refused("AccessDenied", reader.put_bucket_policy, Bucket=B, Policy="{}")
    refused("AccessDenied", reader.copy_object, Bucket=B, Key="mine/reader/y", CopySource={"Bucket": B, "Key": "closed"})
    reader.copy_object(Bucket=B, Key="mine/reader/y", CopySource={"Bucket": B, "Key": "open/a"})
    gone = reader.delete_objects(Bucket=B, Delete={"Objects": [{"Key": "mine/reader/y"}]})
    equal("one of many", [e["Code"] for e in gone["Errors"]], ["AccessDenied"])
    arn = f"arn:aws:iam::{account}:user/reader"
    set_policy(allow("s3:DeleteObject", f"{ARN}/mine/*", {"AWS": arn}), allow("s3:GetObject", f"{ARN}/open/*", {"AWS": arn}, "Deny"))
    reader.delete_object(Bucket=B, Key="mine/reader/y")
    refused("AccessDenied", reader.get_object, **read)
    s3.delete_bucket_policy(Bucket=B)

    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}]}
    iam.create_role(RoleName="archive", AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName="archive", PolicyName="all", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))
    less = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]}
    given = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/archive", RoleSessionName="session", Policy=json.dumps(less))["Credentials"]
    session = client(key=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"])
    equal("a session reads", session.get_object(**read)["Body"].read(), b"open")
    refused("AccessDenied", session.put_object, **read, Body=b"x")
    url = session.generate_presigned_url("get_object", Params=read)
    equal("its presigned URL", plain("GET", url[len(URL):])[0], 200)
    bare = client(key=given["AccessKeyId"], secret=given["SecretAccessKey"])
    refused("SignatureDoesNotMatch", bare.get_object, **read)
    forged = client(key=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"][:-4] + "AAAA")
    refused("SignatureDoesNotMatch", forged.get_object, **read)
    iam.delete_role_policy(RoleName="archive", PolicyName="all")
    refused("AccessDenied", session.get_object, **read)
    iam.delete_role(RoleName="archive")
    iam.delete_access_key(UserName="reader", AccessKeyId=key["AccessKeyId"])
    refused("SignatureDoesNotMatch", reader.get_object, **read)
    iam.delete_user_policy(UserName="reader", PolicyName="own")
    iam.delete_user(UserName="reader")


def form(fields, data, name="file"):
    edge = "edge"
    parts = [f'--{edge}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = f'--{edge}\r\nContent-Disposition: form-data; name="{name}"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
    body = ("".join(parts) + head).encode() + data + f"\r\n--{edge}--\r\n".encode()
    return plain("POST", f"/{B}", {"Content-Type": f"multipart/form-data; boundary={edge}"}, body)


def forms():
    made = s3.generate_presigned_post(B, "form/a.txt", Fields={"x-amz-meta-who": "me"}, Conditions=[
        {"x-amz-meta-who": "me"}, ["content-length-range", 1, 100]])["fields"]
    equal("a form", form(made, b"sent")[0], 204)
    found = s3.get_object(Bucket=B, Key="form/a.txt")
    equal("is an object", (found["Body"].read(), found["Metadata"]), (b"sent", {"who": "me"}))
    cases = {
        "too long": (made, b"x" * 101), "too short": (made, b""), "of another key": (made | {"key": "closed"}, b"x"),
        "with a field more": (made | {"x-amz-meta-more": "1"}, b"x"), "changed": (made | {"x-amz-meta-who": "you"}, b"x"),
        "wrongly signed": (made | {"x-amz-signature": "0" * 64}, b"x"), "not signed": ({"key": "form/x"}, b"x"),
        "into an ACL": (made | {"acl": "public-read"}, b"x"),
    }
    for what, (fields, data) in cases.items():
        status, _, said = form(fields, data)
        check(f"a form {what} is refused", status in (400, 403), (status, said))
    named = s3.generate_presigned_post(B, "form/${filename}")["fields"]
    equal("the browser's name for a file is not taken over", form(named, b"x")[0], 501)
    equal("nothing came of them", s3.get_object(Bucket=B, Key="form/a.txt")["Body"].read(), b"sent")


s3.create_bucket(Bucket=B)
for part in (not_set, tags, lifecycle, cors, everyone, accounts, users, forms):
    part()
empty(s3, B)
end("settings, lifecycle, CORS, policies, accounts, users, sessions, forms")

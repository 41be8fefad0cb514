"""Signatures that must not work: each is made right first, then one thing about it is changed on the wire."""

import datetime
import hashlib
import hmac
import http.client
import os
import ssl
import urllib.parse
import zlib
import base64

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from common import CA, REGION, URL, check, client, empty, end, equal

s3 = client()
B = "traps-1"
HOST = urllib.parse.urlsplit(URL).netloc
KEYS = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
tls = ssl.create_default_context(cafile=CA)


def send(method, target, headers, body=b"", length=None):
    """As it is: no header is added but the body's length, and a body may end before it."""
    wire = http.client.HTTPSConnection(HOST, context=tls, timeout=20)
    wire.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        wire.putheader(name, value)
    if body or length is not None:
        wire.putheader("Content-Length", str(len(body) if length is None else length))
    wire.endheaders()
    try:
        wire.send(body)
        if length is not None and length > len(body):
            wire.sock.shutdown(1)
        answer = wire.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (ConnectionError, http.client.HTTPException, ssl.SSLError) as error:
        return 0, str(error)
    finally:
        wire.close()


def signed(method, target, body=b"", headers=None, auth=S3SigV4Auth, keys=KEYS, service="s3", region=REGION):
    request = AWSRequest(method=method, url=URL + target, data=body, headers={"Host": HOST} | (headers or {}))
    auth(keys, service, region).add_auth(request)
    made = request.prepare()
    url = urllib.parse.urlsplit(made.url)
    names = [(k, v) for k, v in made.headers.items() if k.lower() != "content-length"]
    return url.path + (f"?{url.query}" if url.query else ""), names


def presigned(method, target, seconds=60, headers=None):
    auth = lambda keys, service, region: S3SigV4QueryAuth(keys, service, region, expires=seconds)
    return signed(method, target, headers=headers, auth=auth)


def is_refused(what, answer):
    check(f"{what} is refused", 400 <= answer[0] < 500 or answer[0] == 0, answer)


def changed(headers, name, value):
    return [(k, value if k.lower() == name.lower() else v) for k, v in headers]


def headers_and_queries():
    path, headers = signed("PUT", f"/{B}/k", b"good", {"x-amz-meta-a": "1"})
    equal("a right request", send("PUT", path, headers, b"good")[0], 200)
    is_refused("a changed signed header", send("PUT", path, changed(headers, "x-amz-meta-a", "2"), b"good"))
    is_refused("a signed header that is not there", send("PUT", path, [h for h in headers if h[0].lower() != "x-amz-meta-a"], b"good"))
    is_refused("an unsigned x-amz header", send("PUT", path, headers + [("x-amz-copy-source", f"/{B}/secret")]))
    is_refused("an unsigned ACL", send("PUT", path, headers + [("x-amz-acl", "private")], b"good"))
    is_refused("a doubled signed header", send("PUT", path, headers + [("x-amz-meta-a", "1")], b"good"))
    is_refused("a doubled date", send("PUT", path, headers + [h for h in headers if h[0].lower() == "x-amz-date"], b"good"))
    is_refused("two hosts", send("PUT", path, headers + [("Host", HOST)], b"good"))
    is_refused("another host", send("PUT", path, changed(headers, "host", "elsewhere"), b"good"))
    is_refused("another body", send("PUT", path, headers, b"evil"))
    is_refused("another method", send("DELETE", path, headers))
    is_refused("another key", send("PUT", f"/{B}/l", headers, b"good"))
    is_refused("a query more", send("PUT", path + "?tagging", headers, b"good"))
    query, plain = presigned("PUT", f"/{B}/k")
    is_refused("two signatures", send("PUT", query, headers, b"good"))
    for wrong in ("UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "", "nonsense"):
        is_refused(f"x-amz-content-sha256 {wrong!r}", send("PUT", path, changed(headers, "x-amz-content-sha256", wrong), b"good"))
    no_host = [(k, v.replace("SignedHeaders=host;", "SignedHeaders=") if k == "Authorization" else v) for k, v in headers]
    is_refused("an unsigned host", send("PUT", path, no_host, b"good"))
    is_refused("nothing signed", send("GET", f"/{B}/k", [("Host", HOST)]))
    is_refused("a signature of version 2", send("GET", f"/{B}/k", [("Host", HOST), ("Authorization", f"AWS {KEYS.access_key}:x"),
                                                                  ("Date", "Thu, 01 Jan 2032 00:00:00 GMT")]))
    strange = Credentials("AKIANOSUCHKEY0000000", KEYS.secret_key)
    unknown = send("GET", *signed("GET", f"/{B}/k", keys=strange))
    wrong = send("GET", *signed("GET", f"/{B}/k", keys=Credentials(KEYS.access_key, "wrong" * 8)))
    equal("an unknown key and a wrong secret are one answer", unknown[0], wrong[0])
    check("word for word", "SignatureDoesNotMatch" in unknown[1] and "SignatureDoesNotMatch" in wrong[1], (unknown, wrong))
    is_refused("another region", send("GET", *signed("GET", f"/{B}/k", region="eu-west-1")))
    is_refused("another service", send("GET", *signed("GET", f"/{B}/k", service="ec2")))
    is_refused("a token that nobody gave", send("GET", *signed("GET", f"/{B}/k", headers={"x-amz-security-token": "abc"})))


def presigned_urls():
    query, headers = presigned("GET", f"/{B}/k")
    equal("a presigned URL", send("GET", query, headers), (200, "good"))
    is_refused("used for another method", send("PUT", query, headers, b"x"))
    is_refused("with an unsigned x-amz header", send("GET", query, headers + [("x-amz-meta-a", "1")]))
    is_refused("with another parameter", send("GET", query + "&versionId=null", headers))
    is_refused("with a longer life", send("GET", query.replace("Expires=60", "Expires=600"), headers))
    is_refused("with a parameter twice", send("GET", query + "&X-Amz-Expires=60", headers))
    is_refused("without a life", send("GET", query.replace("&X-Amz-Expires=60", ""), headers))
    is_refused("for eight days", send("GET", *presigned("GET", f"/{B}/k", 8 * 86400)))
    is_refused("one that has expired", send("GET", aged(-3600), [("Host", HOST)]))
    is_refused("one from tomorrow", send("GET", aged(86400), [("Host", HOST)]))
    equal("signed by hand", send("GET", aged(0), [("Host", HOST)])[0], 200)
    query, headers = presigned("PUT", f"/{B}/secret-copy")
    is_refused("an upload that becomes a copy", send("PUT", query, headers + [("x-amz-copy-source", f"/{B}/secret")]))


def key_of(day, region=REGION):
    key = ("AWS4" + KEYS.secret_key).encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def aged(seconds):
    """A presigned URL as it was made so many seconds from now, good for a minute."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    stamp, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
    scope = f"{day}/{REGION}/s3/aws4_request"
    query = urllib.parse.urlencode(sorted({
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{KEYS.access_key}/{scope}", "X-Amz-Date": stamp,
        "X-Amz-Expires": "60", "X-Amz-SignedHeaders": "host"}.items()))
    canonical = f"GET\n/{B}/k\n{query}\nhost:{HOST}\n\nhost\nUNSIGNED-PAYLOAD"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return f"/{B}/k?{query}&X-Amz-Signature={hmac.new(key_of(day), text.encode(), hashlib.sha256).hexdigest()}"


def chunked(key, chunks, kind="STREAMING-AWS4-HMAC-SHA256-PAYLOAD", spoil=None, announced=None, end=True):
    """An upload in signed chunks, spoiled in one way."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/{REGION}/s3/aws4_request"
    size = sum(map(len, chunks)) if announced is None else announced
    headers = {"content-encoding": "aws-chunked", "host": HOST, "x-amz-content-sha256": kind, "x-amz-date": stamp,
               "x-amz-decoded-content-length": str(size)}
    names = ";".join(headers)
    canonical = f"PUT\n/{B}/{key}\n\n" + "".join(f"{k}:{v}\n" for k, v in headers.items()) + f"\n{names}\n{kind}"
    signing = key_of(day)
    sign = lambda text: hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    before = sign(f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}")
    authorization = f"AWS4-HMAC-SHA256 Credential={KEYS.access_key}/{scope}, SignedHeaders={names}, Signature={before}"
    body = b""
    for number, chunk in enumerate(chunks + ([b""] if end else [])):
        text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, before, hashlib.sha256(b"").hexdigest(),
                          hashlib.sha256(chunk).hexdigest()])
        before = sign(text)
        sent = "0" * 64 if spoil == ("signature", number) else before
        data = b"x" * len(chunk) if spoil == ("bytes", number) else chunk
        body += f"{len(chunk):x};chunk-signature={sent}\r\n".encode() + data + b"\r\n"
    return send("PUT", f"/{B}/{key}", [*headers.items(), ("Authorization", authorization)], body)


def chunks():
    big = [bytes([n]) * 65536 for n in range(3)] + [b"end"]
    equal("signed chunks", chunked("chunked", big)[0], 200)
    check("are the object", s3.get_object(Bucket=B, Key="chunked")["Body"].read() == b"".join(big))
    is_refused("a chunk with a wrong signature", chunked("no", big, spoil=("signature", 1)))
    is_refused("a chunk with other bytes", chunked("no", big, spoil=("bytes", 2)))
    is_refused("a last chunk with a wrong signature", chunked("no", big, spoil=("signature", len(big))))
    is_refused("chunks without an end", chunked("no", big, end=False))
    is_refused("fewer bytes than announced", chunked("no", big, announced=300000))
    is_refused("more bytes than announced", chunked("no", big, announced=100))


def trailers():
    data = b"with a trailer"
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    more = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-trailer": "x-amz-checksum-crc32",
            "x-amz-decoded-content-length": str(len(data)), "content-encoding": "aws-chunked"}

    class Auth(S3SigV4Auth):
        def payload(self, request):
            return more["x-amz-content-sha256"]

    def body(sum_):
        trailer = f"x-amz-checksum-crc32:{sum_}\r\n" if sum_ else ""
        return f"{len(data):x}\r\n".encode() + data + f"\r\n0\r\n{trailer}\r\n".encode()

    path, headers = signed("PUT", f"/{B}/t", headers=more, auth=Auth)
    equal("a trailer", send("PUT", path, headers, body(crc))[0], 200)
    is_refused("a wrong trailer", send("PUT", path, headers, body("AAAAAA==")))
    is_refused("no trailer where one was announced", send("PUT", path, headers, body(None)))
    path, headers = signed("PUT", f"/{B}/t", headers=more, auth=Auth, keys=Credentials(KEYS.access_key, "wrong" * 8))
    is_refused("an unsigned trailer under a wrong signature", send("PUT", path, headers, body(crc)))


def truncated():
    data = os.urandom(1 << 20)
    path, headers = signed("PUT", f"/{B}/cut", data)
    is_refused("a body that ends early", send("PUT", path, headers, data[:-1], length=len(data)))
    query, plain = presigned("PUT", f"/{B}/cut")
    is_refused("an unsigned body that ends early", send("PUT", query, plain, data[:-1], length=len(data)))
    names = [o["Key"] for o in s3.list_objects_v2(Bucket=B)["Contents"]]
    check("and is no object", "cut" not in names and "no" not in names, names)


def paths():
    for key in ("a b", "a+b", "a%20b", "a/../b", "./a", "a//b", "ä/日本", "~a", "a?b", "a#b", "a&b=c", "a;b", "a:b@c", "$a,b", "a/"):
        encoded = urllib.parse.quote(key, safe="/-_.~")
        path, headers = signed("PUT", f"/{B}/{encoded}", key.encode())
        equal(f"PUT {key!r}", send("PUT", path, headers, key.encode())[0], 200)
        query, plain = presigned("GET", f"/{B}/{encoded}")
        equal(f"GET {key!r}", send("GET", query, plain)[1].encode().decode(), key)
    found = {o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=B) for o in page["Contents"]}
    check("no key was made another one", {"a/../b", "./a", "a//b", "a%20b", "a/"} <= found, found)
    s3.put_object(Bucket=B, Key="b", Body=b"b")
    path, headers = signed("GET", f"/{B}/a/../b")
    equal("no path is walked", send("GET", path, headers)[1], "a/../b")


s3.create_bucket(Bucket=B)
s3.put_object(Bucket=B, Key="secret", Body=b"secret")
for part in (headers_and_queries, presigned_urls, chunks, trailers, truncated, paths):
    part()
check("nothing was copied", "secret-copy" not in [o["Key"] for o in s3.list_objects_v2(Bucket=B)["Contents"]])
empty(s3, B)
end("headers, queries, presigned URLs, chunks, trailers, truncated bodies, paths")

"""The server is killed again and again in the middle of uploads. Whatever was acknowledged reads back whole."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

from botocore.exceptions import BotoCoreError, ClientError

from common import check, client, empty, end

CORTEN, DATA, LISTEN = sys.argv[1:]
ROUNDS = int(os.environ.get("CORTEN_ROUNDS", "6"))
B = "killed-1"
MIB = 1 << 20
acknowledged, lock, stop = {}, threading.Lock(), threading.Event()


def pattern(seed, size):
    return random.Random(seed).randbytes(size)


def write(worker):
    """Small objects, big ones and such in parts, each under a name of its own; a failed one may be there or not."""
    s3 = client(connect_timeout=5, read_timeout=30)
    n = 0
    while not stop.is_set():
        n += 1
        key, size = f"{worker}/{n}", (4096, 700_000, 6 * MIB)[n % 3]
        data = pattern(key, size)
        try:
            if size > 5 * MIB:
                id_ = s3.create_multipart_upload(Bucket=B, Key=key)["UploadId"]
                parts = []
                for number, part in enumerate((data[:5 * MIB], data[5 * MIB:]), 1):
                    made = s3.upload_part(Bucket=B, Key=key, UploadId=id_, PartNumber=number, Body=part)
                    parts.append({"PartNumber": number, "ETag": made["ETag"]})
                s3.complete_multipart_upload(Bucket=B, Key=key, UploadId=id_, MultipartUpload={"Parts": parts})
            else:
                s3.put_object(Bucket=B, Key=key, Body=data)
            with lock:
                acknowledged[key] = hashlib.sha256(data).digest()
        except (BotoCoreError, ClientError):
            time.sleep(0.1)


def daemon():
    """The process that serves this cloud, told from its guests by its command line."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{name}/cmdline", "rb").read().split(b"\0")
        except OSError:
            continue
        if b"up" in words and DATA.encode() in words and b"--detach" not in words:
            return int(name)
    return None


def start():
    subprocess.run([CORTEN, "up", "--detach", "--data", DATA, "--listen", LISTEN], check=True, capture_output=True, timeout=60)


s3 = client()
s3.create_bucket(Bucket=B)
writers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
for writer in writers:
    writer.start()
counts = []
for round_ in range(ROUNDS):
    before = len(acknowledged)
    deadline = time.monotonic() + 30
    while len(acknowledged) < before + 12 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(random.random() / 5)
    pid = daemon()
    check("the server runs", pid is not None)
    os.kill(pid, signal.SIGKILL)
    counts.append(len(acknowledged))
    start()
stop.set()
for writer in writers:
    writer.join()
check("each round wrote something", all(a < b for a, b in zip([0] + counts, counts)), counts)
for key, digest in acknowledged.items():
    try:
        found = s3.get_object(Bucket=B, Key=key)["Body"].read()
        check(f"{key} is whole", hashlib.sha256(found).digest() == digest, len(found))
    except ClientError as error:
        check(f"{key} is there", False, error)
listed = {o["Key"]: o["Size"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=B) for o in page["Contents"]}
check("all are listed", set(acknowledged) <= set(listed), set(acknowledged) - set(listed))
for key in set(listed) - set(acknowledged):
    body = s3.get_object(Bucket=B, Key=key)["Body"].read()
    check(f"{key}, which nobody was told of, is whole too", body == pattern(key, len(body)), len(body))
empty(s3, B)
end(f"{len(acknowledged)} objects, {ROUNDS} kills")

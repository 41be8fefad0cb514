"""Requests as botocore signs them, for a test that needs no Python: writes signed.json beside this file. The same
kind of requests is sent to a real cloud by the check of stack 57."""

import datetime
import json
import pathlib
import random
import urllib.parse

import botocore.auth
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ROUNDS = 120
LETTERS = "abcXYZ019-_.~ !*'()&=+%/?#[]@:,;\"<>\\^`{|}\u00e4\u4e2d\U0001f600\n\t"
HOST = "https://127.0.0.1:7443"
# When the test says it is.
NOW = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.timezone.utc)


def text(source, most=12):
    return "".join(source.choices(LETTERS, k=source.randrange(most)))


def request(source):
    fields = {"Action": "DescribeRegions", "Version": "2016-11-15"}
    fields |= {f"Filter.{i + 1}.Value.1": text(source) for i in range(source.randrange(4))}
    note = "".join(source.choices("ab  c,;=", k=8)).strip() or "x"
    if source.random() < 0.5:
        quote = source.choice([urllib.parse.quote, urllib.parse.quote_plus])
        return AWSRequest(method="POST", url=f"{HOST}/", data=urllib.parse.urlencode(fields, quote_via=quote),
                          headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "X-Amz-Note": note})
    path = urllib.parse.quote(text(source, 6).replace("\n", "").replace("\t", ""))
    encoded = urllib.parse.urlencode(fields, quote_via=urllib.parse.quote, safe="-_.~")
    return AWSRequest(method="GET", url=f"{HOST}/{path}?{encoded}", headers={"X-Amz-Note": note})


def main():
    source = random.Random(57)
    keys = Credentials("AKIDEXAMPLEEXAMPLE00", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    botocore.auth.get_current_datetime = lambda *_, **__: NOW.replace(tzinfo=None)
    made = []
    for _ in range(ROUNDS):
        asked = request(source)
        in_query = asked.method == "GET" and source.random() < 0.5
        (SigV4QueryAuth if in_query else SigV4Auth)(keys, "ec2", "here").add_auth(asked)
        ready = asked.prepare()
        parts = urllib.parse.urlsplit(ready.url)
        body = ready.body.decode() if isinstance(ready.body, bytes) else ready.body or ""
        value = lambda v: v.decode() if isinstance(v, bytes) else v
        headers = {name.lower(): value(v) for name, v in ready.headers.items() if name != "Content-Length"}
        made.append({"method": ready.method, "path": parts.path, "query": parts.query, "body": body,
                     "headers": {"host": parts.netloc, **headers}})
    lines = ",\n".join(json.dumps(one, ensure_ascii=True) for one in made)
    pathlib.Path(__file__).with_suffix(".json").write_text(f"[\n{lines}\n]\n")


main()

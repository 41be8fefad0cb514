"""AWS's own signer against the cloud's verifier: whatever botocore signs is understood, and nothing that was changed after."""

import http.client
import os
import random
import ssl
import urllib.parse

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ROUNDS = 300
LETTERS = "abcXYZ019-_.~ !*'()&=+%/?#[]@:,;\"<>\\^`{|}\u00e4\u4e2d\U0001f600\n\t"


class Signer:
    def __init__(self, tools, seed):
        self.check = tools[0]
        self.random = random.Random(seed)
        self.url = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
        self.keys = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
        self.wire = http.client.HTTPSConnection(self.url.netloc, context=context)

    def text(self):
        return "".join(self.random.choices(LETTERS, k=self.random.randrange(12)))

    def send(self, method, target, headers, body):
        self.wire.request(method, target, body=body, headers=headers)
        answer = self.wire.getresponse()
        return answer.status, answer.read().decode()

    def request(self):
        """A request with parameters that only the verifier looks at before they are refused."""
        fields = {"Action": "DescribeRegions", "Version": "2016-11-15"}
        fields |= {f"Filter.{i + 1}.Value.1": self.text() for i in range(self.random.randrange(4))}
        encoded = urllib.parse.urlencode(fields, quote_via=self.random.choice([urllib.parse.quote, urllib.parse.quote_plus]))
        if self.random.random() < 0.5:
            return AWSRequest(method="POST", url=self.url.geturl() + "/", data=encoded,
                              headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "X-Amz-Note": self.note()})
        encoded = urllib.parse.urlencode(fields, quote_via=urllib.parse.quote, safe="-_.~")
        return AWSRequest(method="GET", url=f"{self.url.geturl()}/?{encoded}", headers={"X-Amz-Note": self.note()})

    def note(self):
        return "".join(self.random.choices("ab  c,;=", k=8)).strip() or "x"

    def run(self):
        for round_ in range(ROUNDS):
            request = self.request()
            in_query = request.method == "GET" and self.random.random() < 0.5
            (SigV4QueryAuth if in_query else SigV4Auth)(self.keys, "ec2", os.environ["AWS_REGION"]).add_auth(request)
            made = request.prepare()
            parts = urllib.parse.urlsplit(made.url)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            body = made.body.encode() if isinstance(made.body, str) else made.body
            # The length is that of what is sent, changed or not.
            headers = {name: value for name, value in made.headers.items() if name != "Content-Length"}
            status, answer = self.send(made.method, target, headers, body)
            signed = not any(word in answer for word in ("AuthFailure", "IncompleteSignature", "RequestExpired"))
            self.check(f"round {round_}: what botocore signed is understood", signed, f"{made.method} {target} {body} {answer}")
            status, answer = self.changed(made.method, target, headers, body)
            self.check(f"round {round_}: what was changed is refused", status in (400, 401, 403) and (
                "AuthFailure" in answer or "IncompleteSignature" in answer), f"{status} {answer}")
        print(f"{ROUNDS} requests signed by botocore, each once as it was and once changed")

    def changed(self, method, target, headers, body):
        headers = dict(headers)
        kind = self.random.randrange(3)
        if kind == 0 and body:
            body += b"&MaxResults=5"
        elif kind == 1:
            headers["X-Amz-Note"] = headers.get("X-Amz-Note", "") + "z"
        else:
            target += ("&" if "?" in target else "?") + "Filter.9.Name=x"
        return self.send(method, target, headers, body)

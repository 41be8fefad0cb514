"""CloudWatch through boto3, which speaks CBOR with it; what is said must be the same in the two older protocols."""

import datetime
import json
import time
import urllib.error
import urllib.request
import ssl
import os
import xml.etree.ElementTree as ElementTree

import boto3
import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config

PLAIN = Config(retries={"max_attempts": 1}, parameter_validation=True)
COUNTED = ["CPUUtilization", "DiskReadBytes", "DiskWriteBytes", "NetworkIn", "NetworkOut", "NetworkPacketsIn", "NetworkPacketsOut"]


class Metrics:
    """`tools` are check, equal and refused of the one who calls."""

    def __init__(self, tools, ec2):
        self.check, self.equal, self.refused = tools
        self.ec2 = ec2
        self.cloudwatch = boto3.client("cloudwatch", config=PLAIN)
        self.seen = {"GetMetricData", "GetMetricStatistics", "ListMetrics"}

    def run(self, image):
        made = self.ec2.run_instances(ImageId=image, InstanceType="tiny", MinCount=1, MaxCount=1)["Instances"][0]
        self.instance = made["InstanceId"]
        self.ec2.get_waiter("instance_running").wait(InstanceIds=[self.instance], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        self.lists()
        self.refusals()
        self.values()
        self.ec2.terminate_instances(InstanceIds=[self.instance])
        self.ec2.get_waiter("instance_terminated").wait(InstanceIds=[self.instance], WaiterConfig={"Delay": 1, "MaxAttempts": 120})

    def dimension(self):
        return [{"Name": "InstanceId", "Value": self.instance}]

    def span(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        return {"StartTime": now - datetime.timedelta(minutes=30), "EndTime": now + datetime.timedelta(minutes=1)}

    def lists(self):
        found = self.cloudwatch.list_metrics(Namespace="AWS/EC2", Dimensions=self.dimension())["Metrics"]
        self.equal("what is counted of an instance", sorted(m["MetricName"] for m in found), COUNTED)
        one = self.cloudwatch.list_metrics(MetricName="NetworkIn", Dimensions=self.dimension())["Metrics"]
        self.equal("one of it", one, [{"Namespace": "AWS/EC2", "MetricName": "NetworkIn", "Dimensions": self.dimension()}])
        self.equal("of another service nothing is", self.cloudwatch.list_metrics(Namespace="AWS/RDS")["Metrics"], [])

    def refusals(self):
        of = {"Namespace": "AWS/EC2", "MetricName": "CPUUtilization", "Dimensions": self.dimension(), **self.span()}
        call, refused = self.cloudwatch.get_metric_statistics, self.refused
        refused("InvalidParameterValue", call, **of, Period=7, Statistics=["Average"])
        refused("InvalidParameterValue", call, **{**of, "EndTime": of["StartTime"]}, Period=60, Statistics=["Average"])
        refused("InvalidParameterValue", call, **of, Period=60, Statistics=["Average"], Unit="Bytes")
        refused("MissingParameter", call, **of, Period=60)
        refused("InvalidAction", self.cloudwatch.describe_alarms)
        stat = {"Metric": {k: of[k] for k in ("Namespace", "MetricName", "Dimensions")}, "Period": 60, "Stat": "p99"}
        refused("InvalidParameterValue", self.cloudwatch.get_metric_data, MetricDataQueries=[{"Id": "a", "MetricStat": stat}], **self.span())
        refused("InvalidParameterValue", self.cloudwatch.get_metric_data, MetricDataQueries=[{"Id": "a", "Expression": "1"}], **self.span())

    def queries(self):
        stat = lambda name, how: {"Metric": {"Namespace": "AWS/EC2", "MetricName": name, "Dimensions": self.dimension()}, "Period": 60, "Stat": how}
        return [{"Id": name.lower(), "MetricStat": stat(name, "Sum" if name != "CPUUtilization" else "Maximum")} for name in COUNTED]

    def values(self):
        """A host looks once a minute: after the second look there is something to tell."""
        self.until(lambda values: all(values.values()))
        # Between two looks it boots again, which takes its core and asks the network for an address.
        self.ec2.reboot_instances(InstanceIds=[self.instance])
        found = self.until(lambda values: max(values["NetworkPacketsOut"]) > 0)
        values = {result["Label"]: result["Values"] for result in found}
        self.check("everything that is counted has a value", all(values.values()), values)
        self.check("a guest that booted used its core", 0 < max(values["CPUUtilization"]) <= 100, values)
        self.check("and the network", max(values["NetworkIn"]) > 0 and max(values["NetworkPacketsOut"]) > 0, values)
        whole = {"Namespace": "AWS/EC2", "MetricName": "NetworkIn", "Dimensions": self.dimension(), "Period": 3600, "Statistics": ["Sum", "SampleCount"]}
        points = self.cloudwatch.get_metric_statistics(**whole, **self.span())["Datapoints"]
        self.check("the same in one period", sum(p["Sum"] for p in points) >= max(values["NetworkIn"]), points)
        self.equal("in bytes", {p["Unit"] for p in points}, {"Bytes"})
        nobody = self.cloudwatch.get_metric_statistics(**{**whole, "Dimensions": [{"Name": "InstanceId", "Value": "i-00000000000000000"}]}, **self.span())
        self.equal("of nobody there is nothing", nobody["Datapoints"], [])
        self.older(found)

    def until(self, ready):
        for _ in range(75):
            found = self.cloudwatch.get_metric_data(MetricDataQueries=self.queries(), **self.span())["MetricDataResults"]
            if ready({result["Label"]: result["Values"] for result in found}):
                break
            time.sleep(2)
        return found

    def older(self, found):
        span = {name: int(at.timestamp()) for name, at in self.span().items()}
        said = {result["Id"]: len(result["Values"]) for result in found}
        answer = json.loads(self.send({"X-Amz-Target": "GraniteServiceVersion20100801.GetMetricData", "Content-Type": "application/x-amz-json-1.0"},
                                      json.dumps({"MetricDataQueries": self.queries(), **span})))
        self.check("JSON says the same", all(len(r["Values"]) >= said[r["Id"]] for r in answer["MetricDataResults"]), answer)
        form = f"Action=ListMetrics&Version=2010-08-01&Dimensions.member.1.Name=InstanceId&Dimensions.member.1.Value={self.instance}"
        root = ElementTree.fromstring(self.send({"Content-Type": "application/x-www-form-urlencoded"}, form))
        names = sorted(e.text for e in root.iter() if e.tag.endswith("}MetricName"))
        self.equal("and so does XML", names, COUNTED)

    def send(self, headers, body):
        request = AWSRequest("POST", os.environ["AWS_ENDPOINT_URL"] + "/", headers=headers, data=body.encode())
        SigV4Auth(botocore.session.get_session().get_credentials(), "monitoring", os.environ["AWS_REGION"]).add_auth(request)
        prepared = request.prepare()
        wire = urllib.request.Request(prepared.url, data=prepared.body, headers=dict(prepared.headers), method="POST")
        context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
        try:
            return urllib.request.urlopen(wire, context=context).read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

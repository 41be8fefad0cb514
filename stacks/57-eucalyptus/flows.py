"""Flow logs through boto3: what may be asked for, what is refused and how, and who may."""

import json

import boto3

from volumes import tags

BUCKET = "flows-of-wide"
KEPT = {"LogDestinationType": "s3", "LogDestination": f"arn:aws:s3:::{BUCKET}/net"}
OF_EC2 = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}}
OF_LOGS = {"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{BUCKET}/net/AWSLogs/*"}}


class Flows:
    """`tools` are check, equal and refused of the one who calls."""

    def __init__(self, tools, ec2):
        self.check, self.equal, self.refused = tools
        self.ec2 = ec2
        self.s3 = boto3.client("s3")

    def create(self, ids, kind="VPC", ec2=None, **more):
        given = {"TrafficType": "ALL", **KEPT, **more}
        return (ec2 or self.ec2).create_flow_logs(ResourceIds=ids, ResourceType=kind, **given)

    def run(self):
        ec2, equal = self.ec2, self.equal
        self.s3.create_bucket(Bucket=BUCKET)
        vpc = ec2.create_vpc(CidrBlock="10.72.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.72.1.0/24")["Subnet"]["SubnetId"]
        eni = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
        made = self.made(vpc, subnet, eni)
        self.refusals(vpc)
        self.rights(vpc)
        gone = ec2.delete_flow_logs(FlowLogIds=[made, "fl-00000000000000000"])["Unsuccessful"]
        equal("one of two is gone", [(u["ResourceId"], u["Error"]["Code"]) for u in gone],
              [("fl-00000000000000000", "InvalidFlowLogId.NotFound")])
        self.refused("InvalidFlowLogId.NotFound", ec2.describe_flow_logs, FlowLogIds=[made])
        ec2.delete_network_interface(NetworkInterfaceId=eni)
        ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_vpc(VpcId=vpc)
        self.s3.delete_bucket(Bucket=BUCKET)

    def made(self, vpc, subnet, eni):
        ec2, equal = self.ec2, self.equal
        answer = self.create([vpc], TagSpecifications=tags("vpc-flow-log", Name="all"), ClientToken="flows")
        equal("nothing failed", answer.get("Unsuccessful"), [])
        (made,) = answer["FlowLogIds"]
        again = self.create([vpc], TagSpecifications=tags("vpc-flow-log", Name="all"), ClientToken="flows")
        equal("the same request makes nothing", again["FlowLogIds"], [made])
        twice = self.create([vpc])
        equal("nor does one like it", (twice["FlowLogIds"], twice["Unsuccessful"][0]["Error"]["Code"]), ([], "FlowLogAlreadyExists"))
        words = "${version} ${vpc-id} ${subnet-id} ${instance-id} ${interface-id} ${type} ${region} ${flow-direction} ${action}"
        for kind, ids in (("Subnet", [subnet]), ("NetworkInterface", [eni, "eni-00000000000000000"])):
            more = self.create(ids, kind, TrafficType="REJECT", MaxAggregationInterval=60, LogFormat=words,
                               DestinationOptions={"FileFormat": "plain-text", "HiveCompatiblePartitions": False, "PerHourPartition": True})
            failed = [(u["ResourceId"], u["Error"]["Code"]) for u in more["Unsuccessful"]]
            equal(f"of a {kind}", (len(more["FlowLogIds"]), failed),
                  (1, [(i, "InvalidNetworkInterfaceID.NotFound") for i in ids[1:]]))
        (shown,) = ec2.describe_flow_logs(FlowLogIds=[made])["FlowLogs"]
        equal("it is shown as it was asked for", [shown[key] for key in (
            "ResourceId", "TrafficType", "LogDestination", "LogDestinationType", "MaxAggregationInterval", "FlowLogStatus")],
            [vpc, "ALL", KEPT["LogDestination"], "s3", 600, "ACTIVE"])
        self.check("in the usual form", shown["LogFormat"].startswith("${version} ${account-id} ${interface-id}"), shown)
        (shown,) = ec2.describe_flow_logs(Filters=[{"Name": "resource-id", "Values": [eni]}])["FlowLogs"]
        equal("or in another", (shown["LogFormat"], shown["DestinationOptions"]["PerHourPartition"]), (words, True))
        found = ec2.describe_flow_logs(Filters=[{"Name": "traffic-type", "Values": ["REJECT"]}])["FlowLogs"]
        equal("two are of refusals", len(found), 2)
        ec2.create_tags(Resources=[made], Tags=[{"Key": "a", "Value": "b"}])
        found = ec2.describe_flow_logs(Filters=[{"Name": "tag:a", "Values": ["b"]}])["FlowLogs"]
        equal("one has the tag", [f["FlowLogId"] for f in found], [made])
        pages = ec2.get_paginator("describe_flow_logs").paginate(PaginationConfig={"PageSize": 2})
        equal("they come in pages", [len(page["FlowLogs"]) for page in pages], [2, 1])
        others = [f["FlowLogId"] for f in ec2.describe_flow_logs()["FlowLogs"] if f["FlowLogId"] != made]
        self.refused("DryRunOperation", ec2.delete_flow_logs, FlowLogIds=others, DryRun=True)
        equal("they go", ec2.delete_flow_logs(FlowLogIds=others)["Unsuccessful"], [])
        return made

    def refusals(self, vpc):
        refused = lambda code, **more: self.refused(code, self.create, ids=[vpc], **more)
        refused("UnsupportedOperation", LogDestinationType="cloud-watch-logs")
        refused("UnsupportedOperation", DestinationOptions={"FileFormat": "parquet"})
        refused("UnsupportedOperation", LogFormat="${srcaddr} ${tcp-flags}")
        refused("InvalidParameter", LogFormat="${colour}")
        refused("InvalidParameterValue", MaxAggregationInterval=61)
        refused("InvalidParameterValue", TrafficType="SOME")
        refused("InvalidParameterValue", LogDestination="arn:aws:logs:::group")
        refused("DryRunOperation", TrafficType="REJECT", DryRun=True)
        absent = self.create([vpc], LogDestination="arn:aws:s3:::no-such-bucket")["Unsuccessful"]
        self.check("a bucket that is not there is refused", "Access Denied for LogDestination" in absent[0]["Error"]["Message"], absent)
        wrong = self.create([vpc], "TransitGateway")["Unsuccessful"]
        self.equal("as is what there is not", wrong[0]["Error"]["Code"], "UnsupportedOperation")

    def rights(self, vpc):
        """Who has flows written into a bucket may write there."""
        iam = boto3.client("iam")
        iam.create_user(UserName="logger")
        iam.put_user_policy(UserName="logger", PolicyName="ec2", PolicyDocument=json.dumps(OF_EC2))
        key = iam.create_access_key(UserName="logger")["AccessKey"]
        own = boto3.client("ec2", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
        denied = self.create([vpc], ec2=own, TrafficType="ACCEPT")
        self.equal("who may not write there is refused", (denied["FlowLogIds"], denied["Unsuccessful"][0]["Error"]["Code"]), ([], "400"))
        iam.put_user_policy(UserName="logger", PolicyName="s3", PolicyDocument=json.dumps(OF_LOGS))
        allowed = self.create([vpc], ec2=own, TrafficType="ACCEPT")
        self.equal("who may is not", allowed["Unsuccessful"], [])
        own.delete_flow_logs(FlowLogIds=allowed["FlowLogIds"])
        iam.delete_user_policy(UserName="logger", PolicyName="ec2")
        iam.delete_user_policy(UserName="logger", PolicyName="s3")
        iam.delete_access_key(UserName="logger", AccessKeyId=key["AccessKeyId"])
        iam.delete_user(UserName="logger")

    def something(self, vpc):
        """A flow log that stays for a while, and its id by the member that names one."""
        self.s3.create_bucket(Bucket=BUCKET)
        return {"FlowLogId": self.create([vpc])["FlowLogIds"][0]}

    def nothing(self, made):
        self.ec2.delete_flow_logs(FlowLogIds=[made["FlowLogId"]])
        self.s3.delete_bucket(Bucket=BUCKET)

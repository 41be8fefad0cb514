"""Auto Scaling through boto3: every action, the codes of what is refused, and pages. What becomes of real guests is
in `balancing.sh`."""

import time

import boto3
from botocore.config import Config

from shapes import Judge

PLAIN = Config(retries={"max_attempts": 1}, parameter_validation=True)


class Scaling:
    """`tools` are check, equal and refused of the one who calls, `judges` the list that his answers are held by."""

    def __init__(self, tools, judges, ec2):
        self.check, self.equal, self.refused = tools
        self.ec2 = ec2
        self.scaling, self.elb = (boto3.client(name, config=PLAIN) for name in ("autoscaling", "elbv2"))
        judges.append(Judge(self.scaling))

    def run(self, image):
        default = self.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]
        self.subnet, self.vpc = default["SubnetId"], default["VpcId"]
        self.template = self.ec2.create_launch_template(LaunchTemplateName="scaled", LaunchTemplateData={
            "ImageId": image, "InstanceType": "tiny",
            "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "from", "Value": "template"}]}],
        })["LaunchTemplate"]["LaunchTemplateId"]
        self.groups()
        self.tags()
        self.targets()
        self.members()
        self.ends()

    def shown(self, name="My group"):
        return self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]

    def becomes(self, what, ready):
        for _ in range(240):
            if ready():
                return
            time.sleep(0.5)
        self.check(what, False, self.shown())

    def groups(self):
        scaling, refused = self.scaling, self.refused
        wish = {"AutoScalingGroupName": "My group", "MinSize": 0, "MaxSize": 3, "DesiredCapacity": 0, "VPCZoneIdentifier": self.subnet,
                "LaunchTemplate": {"LaunchTemplateId": self.template, "Version": "$Latest"}}
        refused("ValidationError", scaling.create_auto_scaling_group, **{**wish, "DesiredCapacity": 4})
        refused("ValidationError", scaling.create_auto_scaling_group, **{**wish, "MinSize": 4})
        refused("ValidationError", scaling.create_auto_scaling_group, **{**wish, "VPCZoneIdentifier": f"{self.subnet},{self.subnet}"})
        refused("ValidationError", scaling.create_auto_scaling_group, **{**wish, "VPCZoneIdentifier": "subnet-00000000000000000"})
        refused("ValidationError", scaling.create_auto_scaling_group, **{**wish, "HealthCheckType": "ELB"})
        refused("ValidationError", scaling.create_auto_scaling_group, **{**wish, "LaunchTemplate": {"LaunchTemplateName": "none"}})
        refused("ValidationError", scaling.create_auto_scaling_group, **{**wish, "PlacementGroup": "x"})
        scaling.create_auto_scaling_group(**wish, Tags=[{"Key": "Name", "Value": "scaled", "PropagateAtLaunch": True},
                                                        {"Key": "own", "Value": "group", "PropagateAtLaunch": False}])
        refused("AlreadyExists", scaling.create_auto_scaling_group, **wish)
        made = self.shown()
        self.equal("a group is as it was asked for", (made["MinSize"], made["MaxSize"], made["DesiredCapacity"], made["VPCZoneIdentifier"]),
                   (0, 3, 0, self.subnet))
        self.equal("with its template", made["LaunchTemplate"],
                   {"LaunchTemplateId": self.template, "LaunchTemplateName": "scaled", "Version": "$Latest"})
        scaling.create_auto_scaling_group(**{**wish, "AutoScalingGroupName": "another"})
        pages = list(scaling.get_paginator("describe_auto_scaling_groups").paginate(PaginationConfig={"PageSize": 1}))
        self.equal("groups in pages", [g["AutoScalingGroupName"] for p in pages for g in p["AutoScalingGroups"]], ["My group", "another"])
        scaling.update_auto_scaling_group(AutoScalingGroupName="another", MinSize=0, MaxSize=0, DesiredCapacity=0, DefaultCooldown=10)
        self.equal("one that was changed", (self.shown("another")["MaxSize"], self.shown("another")["DefaultCooldown"]), (0, 10))
        refused("ValidationError", scaling.set_desired_capacity, AutoScalingGroupName="another", DesiredCapacity=1)
        refused("ValidationError", scaling.set_desired_capacity, AutoScalingGroupName="nobody", DesiredCapacity=1)
        scaling.delete_auto_scaling_group(AutoScalingGroupName="another")
        self.equal("one that is not there is not listed", scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["nobody"])["AutoScalingGroups"], [])
        refused("InvalidNextToken", scaling.describe_auto_scaling_groups, NextToken="?")
        refused("ValidationError", scaling.describe_auto_scaling_groups, MaxRecords=1000)

    def tags(self):
        scaling = self.scaling
        tag = lambda key, value, at_launch: {"ResourceId": "My group", "ResourceType": "auto-scaling-group", "Key": key, "Value": value,
                                             "PropagateAtLaunch": at_launch}
        scaling.create_or_update_tags(Tags=[tag("new one", "ä", True)])
        found = scaling.describe_tags(Filters=[{"Name": "auto-scaling-group", "Values": ["My group"]}])["Tags"]
        self.equal("tags of a group", found, [tag("Name", "scaled", True), tag("new one", "ä", True), tag("own", "group", False)])
        scaling.delete_tags(Tags=[tag("own", "group", False)])
        self.equal("those that new instances get", [t["Key"] for t in scaling.describe_tags(
            Filters=[{"Name": "propagate-at-launch", "Values": ["true"]}])["Tags"]], ["Name", "new one"])
        found = scaling.describe_auto_scaling_groups(Filters=[{"Name": "tag:Name", "Values": ["scaled"]}])["AutoScalingGroups"]
        self.equal("a group by its tag", [g["AutoScalingGroupName"] for g in found], ["My group"])
        self.refused("ValidationError", scaling.describe_tags, Filters=[{"Name": "no-such", "Values": ["x"]}])

    def targets(self):
        scaling = self.scaling
        group = self.elb.create_target_group(Name="scaled", Protocol="TCP", Port=22, VpcId=self.vpc)["TargetGroups"][0]["TargetGroupArn"]
        own = {"AutoScalingGroupName": "My group", "TargetGroupARNs": [group]}
        scaling.attach_load_balancer_target_groups(**own)
        found = scaling.describe_load_balancer_target_groups(AutoScalingGroupName="My group")["LoadBalancerTargetGroups"]
        self.equal("a target group of a group", found, [{"LoadBalancerTargetGroupARN": group, "State": "InService"}])
        self.equal("which it tells", self.shown()["TargetGroupARNs"], [group])
        scaling.detach_load_balancer_target_groups(**own)
        self.equal("until it is taken away", self.shown()["TargetGroupARNs"], [])
        self.refused("ValidationError", scaling.attach_load_balancer_target_groups, **{**own, "TargetGroupARNs": [group[:-1] + "x"]})
        self.elb.delete_target_group(TargetGroupArn=group)

    def members(self):
        scaling, refused = self.scaling, self.refused
        in_service = lambda: [i["InstanceId"] for i in self.shown()["Instances"] if i["LifecycleState"] == "InService"]
        scaling.set_desired_capacity(AutoScalingGroupName="My group", DesiredCapacity=2)
        self.becomes("two are in service", lambda: len(in_service()) == 2)
        scaling.update_auto_scaling_group(AutoScalingGroupName="My group", MinSize=1)
        first, second = sorted(in_service())
        told = self.ec2.describe_instances(InstanceIds=[first])["Reservations"][0]["Instances"][0]["Tags"]
        self.equal("they have the tags of group and template", {t["Key"]: t["Value"] for t in told},
                   {"Name": "scaled", "new one": "ä", "from": "template", "aws:autoscaling:groupName": "My group"})
        found = scaling.describe_auto_scaling_instances(InstanceIds=[first])["AutoScalingInstances"]
        self.equal("an instance of a group", [(i["AutoScalingGroupName"], i["HealthStatus"], i["LaunchTemplate"]["Version"]) for i in found],
                   [("My group", "Healthy", "1")])
        told = scaling.describe_scaling_activities(AutoScalingGroupName="My group")["Activities"]
        self.equal("their launches", sorted(a["StatusCode"] for a in told), ["Successful"] * 2)
        refused("ResourceInUse", scaling.delete_auto_scaling_group, AutoScalingGroupName="My group")
        refused("ValidationError", scaling.terminate_instance_in_auto_scaling_group, InstanceId="i-00000000000000000",
                ShouldDecrementDesiredCapacity=True)
        ended = scaling.terminate_instance_in_auto_scaling_group(InstanceId=first, ShouldDecrementDesiredCapacity=True)["Activity"]
        self.check("what was done is told", first in ended["Description"], ended)
        self.becomes("the other one is left", lambda: in_service() == [second] and len(self.shown()["Instances"]) == 1)
        self.equal("and is enough", self.shown()["DesiredCapacity"], 1)
        refused("ValidationError", scaling.terminate_instance_in_auto_scaling_group, InstanceId=second, ShouldDecrementDesiredCapacity=True)

    def ends(self):
        scaling = self.scaling
        scaling.delete_auto_scaling_group(AutoScalingGroupName="My group", ForceDelete=True)
        listed = lambda: scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["My group"])["AutoScalingGroups"]
        self.becomes("it goes with its instances", lambda: not listed())
        self.ec2.delete_launch_template(LaunchTemplateId=self.template)

    def something(self, image):
        """A group, for others to try."""
        self.template = self.ec2.create_launch_template(LaunchTemplateName="theirs-too", LaunchTemplateData={
            "ImageId": image, "InstanceType": "tiny"})["LaunchTemplate"]["LaunchTemplateId"]
        self.scaling.create_auto_scaling_group(AutoScalingGroupName="theirs-too", MinSize=0, MaxSize=1,
                                               LaunchTemplate={"LaunchTemplateId": self.template})
        return {"AutoScalingGroupName": "theirs-too", "LaunchTemplateId": self.template}

    def nothing(self):
        self.scaling.delete_auto_scaling_group(AutoScalingGroupName="theirs-too")
        self.ec2.delete_launch_template(LaunchTemplateId=self.template)

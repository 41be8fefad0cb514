"""Placement groups through boto3: on a cloud of one host, two that are to be apart are not both started."""

import time

from volumes import tags


class Placement:
    """`tools` are check, equal and refused of the one who calls; `image` is what its instances are made from."""

    def __init__(self, tools, ec2, image):
        self.check, self.equal, self.refused = tools
        self.ec2, self.image = ec2, image

    def run(self):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        made = ec2.create_placement_group(GroupName="apart", Strategy="spread", SpreadLevel="host",
                                          TagSpecifications=tags("placement-group", a="b"))["PlacementGroup"]
        equal("a group", (made["State"], made["Strategy"], made["SpreadLevel"]), ("available", "spread", "host"))
        near = ec2.create_placement_group(GroupName="Near by", Strategy="cluster")["PlacementGroup"]["GroupId"]
        refused("InvalidPlacementGroup.Duplicate", ec2.create_placement_group, GroupName="apart", Strategy="cluster")
        refused("UnsupportedOperation", ec2.create_placement_group, GroupName="p", Strategy="partition")
        refused("InvalidParameterValue", ec2.create_placement_group, GroupName="p", Strategy="cluster", SpreadLevel="host")
        refused("InvalidPlacementGroup.Unknown", ec2.describe_placement_groups, GroupNames=["none"])
        found = ec2.describe_placement_groups(Filters=[{"Name": "strategy", "Values": ["cluster"]}])["PlacementGroups"]
        equal("by strategy", [g["GroupId"] for g in found], [near])
        equal("by tag", len(ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [made["GroupId"]]}])["Tags"]), 1)
        run = {"ImageId": self.image, "InstanceType": "tiny", "MinCount": 1, "MaxCount": 1}
        refused("InvalidPlacementGroup.Unknown", ec2.run_instances, **run, Placement={"GroupName": "none"})
        one = ec2.run_instances(**run, Placement={"GroupName": "apart"})["Instances"][0]
        equal("an instance of it", (one["Placement"]["GroupName"], one["Placement"]["GroupId"]), ("apart", made["GroupId"]))
        ec2.get_waiter("instance_running").wait(InstanceIds=[one["InstanceId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        two = ec2.run_instances(**run, Placement={"GroupId": made["GroupId"]})["Instances"][0]["InstanceId"]
        show = lambda: ec2.describe_instances(InstanceIds=[two])["Reservations"][0]["Instances"][0]
        end = time.monotonic() + 30
        while "StateReason" not in show() and time.monotonic() < end:
            time.sleep(0.2)
        told = show()
        equal("the second waits for another host", told["State"]["Name"], "pending")
        self.check("and says so", "host" in told.get("StateReason", {}).get("Message", ""), told.get("StateReason"))
        three = ec2.run_instances(**run, Placement={"GroupName": "Near by"})["Instances"][0]["InstanceId"]
        ec2.get_waiter("instance_running").wait(InstanceIds=[three], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        by_group = ec2.describe_instances(Filters=[{"Name": "placement-group-name", "Values": ["apart"]}])["Reservations"]
        equal("by group", {i["InstanceId"] for r in by_group for i in r["Instances"]}, {one["InstanceId"], two})
        refused("InvalidPlacementGroup.InUse", ec2.delete_placement_group, GroupName="apart")
        everyone = [one["InstanceId"], two, three]
        ec2.terminate_instances(InstanceIds=everyone)
        ec2.get_waiter("instance_terminated").wait(InstanceIds=[one["InstanceId"], three], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        end = time.monotonic() + 30
        while ec2.describe_instances(Filters=[{"Name": "placement-group-name", "Values": ["*"]}])["Reservations"]:
            if time.monotonic() > end:
                self.check("all go", False)
                break
            time.sleep(0.2)
        for name in ("apart", "Near by"):
            ec2.delete_placement_group(GroupName=name)
        equal("no group is left", ec2.describe_placement_groups()["PlacementGroups"], [])

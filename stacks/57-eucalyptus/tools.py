"""What packer and the EBS CSI driver ask for, in their order and in their words, and what they read of the answers."""

from botocore.exceptions import ClientError

from patience import Patient
from volumes import SOON, ZONE, tags


class Tools(Patient):
    """`tools` are check, equal and refused of the one who calls; `image` is what machines are made from."""

    def __init__(self, tools, ec2, image):
        self.check, self.equal, self.refused = tools
        self.ec2, self.image = ec2, image

    def run(self):
        instance = self.packer_builds()
        self.csi_serves(instance)
        self.packer_ends(instance)

    # --- packer's builder amazon-ebs ----------------------------------------------------------------------------

    def packer_builds(self):
        ec2, equal = self.ec2, self.equal
        ec2.describe_regions()
        equal("the name is free", ec2.describe_images(Filters=[{"Name": "name", "Values": ["built"]}], Owners=["self"])["Images"], [])
        source = ec2.describe_images(ImageIds=[self.image])["Images"][0]
        equal("the source can be started from", (source["State"], source["VirtualizationType"]), ("available", "hvm"))
        offered = ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["tiny"]}])["InstanceTypeOfferings"]
        zones = [o["Location"] for o in offered]
        vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
        subnets = ec2.describe_subnets(Filters=[
            {"Name": "vpc-id", "Values": [vpc]}, {"Name": "availability-zone", "Values": zones}, {"Name": "state", "Values": ["available"]},
        ])["Subnets"]
        subnet = max(subnets, key=lambda s: s["AvailableIpAddressCount"])["SubnetId"]
        key = ec2.create_key_pair(KeyName="packer_1", KeyType="ed25519", TagSpecifications=tags("key-pair", by="packer"))
        self.check("the key is PEM", key["KeyMaterial"].startswith("-----BEGIN"), key["KeyMaterial"][:20])
        group = ec2.create_security_group(GroupName="packer_1", Description="Temporary group for Packer", VpcId=vpc)["GroupId"]
        ec2.get_waiter("security_group_exists").wait(GroupIds=[group], WaiterConfig=SOON)
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
        run = ec2.run_instances(
            ImageId=self.image, InstanceType="tiny", MinCount=1, MaxCount=1, KeyName="packer_1", EbsOptimized=False,
            BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}],
            NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "AssociatePublicIpAddress": False,
                                "DeleteOnTermination": True}],
            Placement={"AvailabilityZone": zones[0]}, InstanceInitiatedShutdownBehavior="stop", UserData="#!/bin/sh\n",
            MetadataOptions={"HttpTokens": "required"},
            TagSpecifications=tags("instance", Name="Packer Builder") + tags("volume", Name="Packer Builder"))
        instance = run["Instances"][0]["InstanceId"]
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        shown = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        equal("it is where it was wanted", (shown["SubnetId"], shown["KeyName"]), (subnet, "packer_1"))
        self.group = group
        return instance

    def packer_ends(self, instance):
        ec2, equal = self.ec2, self.equal
        ec2.stop_instances(InstanceIds=[instance])
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        volumes = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])["Volumes"]
        equal("its volume is tagged", [v["Tags"] for v in volumes], [[{"Key": "Name", "Value": "Packer Builder"}]])
        ec2.terminate_instances(InstanceIds=[instance])
        ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        self.until("the volume went along", lambda: not ec2.describe_volumes()["Volumes"])
        ec2.delete_security_group(GroupId=self.group)
        ec2.delete_key_pair(KeyName="packer_1")

    # --- the EBS CSI driver -------------------------------------------------------------------------------------

    def csi_serves(self, instance):
        ec2, equal = self.ec2, self.equal
        equal("zones", [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]], [ZONE])
        name = {"CSIVolumeName": "pvc-1", "ebs.csi.aws.com/cluster": "true"}
        by_name = [{"Name": "tag:CSIVolumeName", "Values": ["pvc-1"]}]
        wish = {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp3", "Iops": 3000, "ClientToken": "pvc-1", "Encrypted": False,
                "TagSpecifications": tags("volume", **name)}
        equal("a volume, once", len({ec2.create_volume(**wish)["VolumeId"] for _ in range(2)}), 1)
        volume = ec2.describe_volumes(Filters=by_name)["Volumes"][0]["VolumeId"]
        state = lambda: ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
        self.until("it is available", lambda: state()["State"] == "available")

        node = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        self.check("devices that are taken are shown", [m["DeviceName"] for m in node["BlockDeviceMappings"]] == ["/dev/sdf"], node)
        ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/xvdaa")
        attached = lambda: [a for a in state()["Attachments"] if a["State"] == "attached"]
        found = self.until("it is attached", attached)
        equal("to the node, as the device", [(a["InstanceId"], a["Device"]) for a in found or []], [(instance, "/dev/xvdaa")])
        try:
            ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/xvdab")
            self.check("it is attached once", False)
        except ClientError as error:
            equal("the driver knows by the code", error.response["Error"]["Code"], "VolumeInUse")

        try:
            ec2.describe_volumes_modifications(VolumeIds=[volume])
            self.check("nothing was modified yet", False)
        except ClientError as error:
            equal("the driver goes on at", error.response["Error"]["Code"], "InvalidVolumeModification.NotFound")
        ec2.modify_volume(VolumeId=volume, Size=2)
        modified = lambda: ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]
        self.until("it has grown", lambda: modified()["ModificationState"] in ("optimizing", "completed"))
        equal("to the size", (modified()["TargetSize"], state()["Size"]), (2, 2))

        made = ec2.create_snapshot(VolumeId=volume, Description=f"Created by AWS EBS CSI driver for volume {volume}",
                                   TagSpecifications=tags("snapshot", CSIVolumeSnapshotName="snapshot-1"))
        by_name = [{"Name": "tag:CSIVolumeSnapshotName", "Values": ["snapshot-1"]}]
        ready = lambda: ec2.describe_snapshots(Filters=by_name)["Snapshots"][0]["State"] == "completed"
        self.until("the snapshot is ready", ready)
        pages = ec2.describe_snapshots(MaxResults=5, Filters=[{"Name": "volume-id", "Values": [volume]}])
        equal("it is listed", [s["SnapshotId"] for s in pages["Snapshots"]], [made["SnapshotId"]])
        restored = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=made["SnapshotId"], Size=3, VolumeType="gp3")["VolumeId"]
        of_it = lambda: ec2.describe_volumes(VolumeIds=[restored])["Volumes"][0]
        self.until("a volume of it", lambda: of_it()["State"] == "available")
        equal("which is larger", of_it()["Size"], 3)

        ec2.detach_volume(VolumeId=volume, InstanceId=instance)
        self.until("it is detached", lambda: not state()["Attachments"])
        ec2.delete_snapshot(SnapshotId=made["SnapshotId"])
        for one in (volume, restored):
            ec2.delete_volume(VolumeId=one)
        try:
            ec2.delete_volume(VolumeId=volume)
        except ClientError as error:
            equal("to delete it twice is no fault", error.response["Error"]["Code"], "InvalidVolume.NotFound")

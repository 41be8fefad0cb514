"""Volumes and snapshots through boto3, as AWS's users handle them: alone, in instances, frozen, grown."""

from patience import Patient

ZONE = "my-corten-1a"
SOON = {"Delay": 1, "MaxAttempts": 60}


def tags(kind, **named):
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in named.items()]}]


class Volumes(Patient):
    """`tools` are check, equal and refused of the one who calls; `image` is what its instances are made from."""

    def __init__(self, tools, ec2, image):
        self.check, self.equal, self.refused = tools
        self.ec2, self.image = ec2, image

    def run(self):
        first = self.alone()
        instance = self.instance()
        self.attached(first, instance)
        self.grown(first)
        self.frozen(first, instance)
        self.mapped()
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.gone([instance])
        self.ends(first)

    def volume(self, identity):
        return self.ec2.describe_volumes(VolumeIds=[identity])["Volumes"][0]

    def wait(self, waiter, **arguments):
        self.ec2.get_waiter(waiter).wait(WaiterConfig=SOON, **arguments)

    def gone(self, instances):
        self.ec2.get_waiter("instance_terminated").wait(InstanceIds=instances, WaiterConfig={"Delay": 1, "MaxAttempts": 120})

    def instance(self, **more):
        made = self.ec2.run_instances(ImageId=self.image, InstanceType="tiny", MinCount=1, MaxCount=1, **more)["Instances"][0]
        self.ec2.get_waiter("instance_running").wait(
            InstanceIds=[made["InstanceId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        return made["InstanceId"]

    def alone(self):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        made = ec2.create_volume(AvailabilityZone=ZONE, Size=1, VolumeType="gp3", Iops=4000, Throughput=200,
                                 TagSpecifications=tags("volume", Name="data"), ClientToken="one")
        identity = made["VolumeId"]
        again = ec2.create_volume(AvailabilityZone=ZONE, Size=1, VolumeType="gp3", Iops=4000, Throughput=200,
                                  TagSpecifications=tags("volume", Name="data"), ClientToken="one")
        equal("the same request makes nothing", again["VolumeId"], identity)
        refused("IdempotentParameterMismatch", ec2.create_volume, AvailabilityZone=ZONE, Size=2, ClientToken="one")
        self.wait("volume_available", VolumeIds=[identity])
        volume = self.volume(identity)
        wanted = {"Size": 1, "VolumeType": "gp3", "Iops": 4000, "Throughput": 200, "AvailabilityZone": ZONE, "Encrypted": False,
                  "Attachments": [], "SnapshotId": "", "Tags": [{"Key": "Name", "Value": "data"}], "MultiAttachEnabled": False}
        equal("a volume is as it was asked for", {k: volume.get(k) for k in wanted}, wanted)
        for name, value in (("status", "available"), ("size", "1"), ("volume-type", "gp3"), ("tag:Name", "da*"),
                            ("availability-zone", ZONE), ("encrypted", "false")):
            found = ec2.describe_volumes(Filters=[{"Name": name, "Values": [value]}])["Volumes"]
            equal(f"by {name}", [v["VolumeId"] for v in found], [identity])
        equal("by another state", ec2.describe_volumes(Filters=[{"Name": "status", "Values": ["in-use"]}])["Volumes"], [])
        plain = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
        pages = list(ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 1}))
        equal("volumes in pages", sorted(v["VolumeId"] for p in pages for v in p["Volumes"]), sorted([identity, plain]))
        equal("a page has one", len(pages), 2)
        refused("DryRunOperation", ec2.create_volume, AvailabilityZone=ZONE, Size=1, DryRun=True)
        refused("DryRunOperation", ec2.delete_volume, VolumeId=plain, DryRun=True)
        self.wait("volume_available", VolumeIds=[plain])
        status = ec2.describe_volume_status(VolumeIds=[identity])["VolumeStatuses"][0]
        equal("it is well", status["VolumeStatus"]["Status"], "ok")
        read = ec2.describe_volume_attribute(VolumeId=identity, Attribute="autoEnableIO")
        equal("nothing is held back", read["AutoEnableIO"], {"Value": True})
        ec2.describe_volume_attribute(VolumeId=identity, Attribute="productCodes")
        ec2.modify_volume_attribute(VolumeId=identity, AutoEnableIO={"Value": True})
        refused("UnsupportedOperation", ec2.modify_volume_attribute, VolumeId=identity, AutoEnableIO={"Value": False})
        ec2.delete_volume(VolumeId=plain)
        self.wait("volume_deleted", VolumeIds=[plain])
        refused("InvalidVolume.NotFound", ec2.delete_volume, VolumeId=plain)
        for code, arguments in (
            ("InvalidZone.NotFound", {"AvailabilityZone": "my-corten-1-nowhere", "Size": 1}),
            ("InvalidParameterValue", {"AvailabilityZone": "us-east-1a", "Size": 1}),
            ("InvalidParameterValue", {"AvailabilityZone": ZONE, "Size": 0}),
            ("InvalidParameterValue", {"AvailabilityZone": ZONE, "Size": 1 << 20}),
            ("MissingParameter", {"AvailabilityZone": ZONE}),
            ("MissingParameter", {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "io2"}),
            ("InvalidParameterCombination", {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp2", "Iops": 100}),
            ("UnknownVolumeType", {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp9"}),
            ("InvalidSnapshot.NotFound", {"AvailabilityZone": ZONE, "SnapshotId": "snap-00000000000000000"}),
            ("UnsupportedOperation", {"AvailabilityZone": ZONE, "Size": 1, "MultiAttachEnabled": True}),
            ("UnknownParameter", {"AvailabilityZone": ZONE, "Size": 1, "KmsKeyId": "x"}),
            ("InvalidParameterValue", {"AvailabilityZone": ZONE, "Size": 1, "TagSpecifications": tags("snapshot", a="b")}),
        ):
            refused(code, ec2.create_volume, **arguments)
        self.encrypted()
        return identity

    def encrypted(self):
        ec2, equal = self.ec2, self.equal
        made = ec2.create_volume(AvailabilityZone=ZONE, Size=1, Encrypted=True)
        equal("a volume is encrypted", made["Encrypted"], True)
        self.wait("volume_available", VolumeIds=[made["VolumeId"]])
        found = ec2.describe_volumes(Filters=[{"Name": "encrypted", "Values": ["true"]}])["Volumes"]
        equal("and found so", [v["VolumeId"] for v in found], [made["VolumeId"]])
        snapshot = ec2.create_snapshot(VolumeId=made["VolumeId"])
        equal("so is its snapshot", snapshot["Encrypted"], True)
        self.wait("snapshot_completed", SnapshotIds=[snapshot["SnapshotId"]])
        copied = ec2.copy_snapshot(SourceSnapshotId=snapshot["SnapshotId"], SourceRegion="my-corten-1", Encrypted=True)["SnapshotId"]
        self.wait("snapshot_completed", SnapshotIds=[copied])
        equal("and a copy of it", ec2.describe_snapshots(SnapshotIds=[copied])["Snapshots"][0]["Encrypted"], True)
        clone = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=copied)
        equal("and a volume of that", clone["Encrypted"], True)
        self.wait("volume_available", VolumeIds=[clone["VolumeId"]])
        for one in (copied, snapshot["SnapshotId"]):
            ec2.delete_snapshot(SnapshotId=one)
        for one in (made, clone):
            ec2.delete_volume(VolumeId=one["VolumeId"])
            self.wait("volume_deleted", VolumeIds=[one["VolumeId"]])

    def attached(self, identity, instance):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        wish = {"VolumeId": identity, "InstanceId": instance}
        refused("DryRunOperation", ec2.attach_volume, **wish, Device="/dev/sdf", DryRun=True)
        made = ec2.attach_volume(**wish, Device="/dev/sdf")
        equal("it comes in as asked", (made["VolumeId"], made["InstanceId"], made["Device"]), (identity, instance, "/dev/sdf"))
        self.wait("volume_in_use", VolumeIds=[identity])
        filters = [{"Name": "attachment.instance-id", "Values": [instance]}, {"Name": "attachment.device", "Values": ["/dev/sdf"]},
                   {"Name": "attachment.status", "Values": ["attached"]}]
        self.until("it is attached", lambda: ec2.describe_volumes(Filters=filters)["Volumes"])
        refused("VolumeInUse", ec2.attach_volume, **wish, Device="/dev/sdg")
        refused("VolumeInUse", ec2.delete_volume, VolumeId=identity)
        spare = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
        self.wait("volume_available", VolumeIds=[spare])
        refused("InvalidParameterValue", ec2.attach_volume, VolumeId=spare, InstanceId=instance, Device="/dev/sdf")
        refused("InvalidParameterValue", ec2.attach_volume, VolumeId=spare, InstanceId=instance, Device="a b")
        refused("IncorrectState", ec2.detach_volume, VolumeId=spare)
        refused("InvalidAttachment.NotFound", ec2.detach_volume, VolumeId=identity, Device="/dev/sdz")
        mapping = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["BlockDeviceMappings"]
        found = [(m["DeviceName"], m["Ebs"]["VolumeId"], m["Ebs"]["Status"], m["Ebs"]["DeleteOnTermination"]) for m in mapping]
        equal("the instance shows it", found, [("/dev/sdf", identity, "attached", False)])
        read = ec2.describe_instance_attribute(InstanceId=instance, Attribute="blockDeviceMapping")
        equal("and its attribute", read["BlockDeviceMappings"], mapping)
        by_volume = ec2.describe_instances(Filters=[{"Name": "block-device-mapping.volume-id", "Values": [identity]}])
        equal("by the volume", by_volume["Reservations"][0]["Instances"][0]["InstanceId"], instance)
        ec2.modify_instance_attribute(InstanceId=instance, BlockDeviceMappings=[
            {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}])
        equal("it would go along", self.volume(identity)["Attachments"][0]["DeleteOnTermination"], True)
        refused("InvalidInstanceAttributeValue", ec2.modify_instance_attribute, InstanceId=instance, BlockDeviceMappings=[
            {"DeviceName": "/dev/sdz", "Ebs": {"DeleteOnTermination": True}}])
        refused("DryRunOperation", ec2.detach_volume, VolumeId=identity, DryRun=True)
        equal("a dry run changes nothing", self.volume(identity)["Attachments"][0]["DeleteOnTermination"], True)
        ec2.detach_volume(VolumeId=identity, InstanceId=instance, Device="/dev/sdf")
        self.wait("volume_available", VolumeIds=[identity])
        equal("it is nowhere", self.volume(identity)["Attachments"], [])
        ec2.delete_volume(VolumeId=spare)
        self.wait("volume_deleted", VolumeIds=[spare])
        # In an instance that is off it is attached at once, and is there when it starts.
        ec2.attach_volume(VolumeId=identity, InstanceId=instance, Device="xvdh")
        refused("InvalidInstanceID.NotFound", ec2.attach_volume, VolumeId=identity, InstanceId="i-00000000000000000", Device="xvdi")
        refused("InvalidVolume.NotFound", ec2.attach_volume, VolumeId="vol-00000000000000000", InstanceId=instance, Device="xvdi")
        refused("InvalidVolumeID.Malformed", ec2.attach_volume, VolumeId="data", InstanceId=instance, Device="xvdi")

    def grown(self, identity):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        refused("InvalidVolumeModification.NotFound", ec2.describe_volumes_modifications, VolumeIds=[identity])
        refused("DryRunOperation", ec2.modify_volume, VolumeId=identity, Size=2, DryRun=True)
        began = ec2.modify_volume(VolumeId=identity, Size=2)["VolumeModification"]
        equal("from and to", (began["OriginalSize"], began["TargetSize"], began["TargetIops"]), (1, 2, 4000))
        done = lambda: ec2.describe_volumes_modifications(
            Filters=[{"Name": "modification-state", "Values": ["completed"]}])["VolumesModifications"]
        self.until("it has grown", done)
        equal("and nothing is left to do", (done()[0]["VolumeId"], done()[0]["Progress"]), (identity, 100))
        equal("it is larger", self.volume(identity)["Size"], 2)
        refused("InvalidParameterValue", ec2.modify_volume, VolumeId=identity, Size=1)
        ec2.modify_volume(VolumeId=identity, VolumeType="gp2")
        volume = self.volume(identity)
        equal("another type has no limits", (volume["VolumeType"], volume.get("Iops"), volume.get("Throughput")), ("gp2", None, None))
        refused("UnsupportedOperation", ec2.modify_volume, VolumeId=identity, VolumeType="gp9")
        refused("InvalidParameterCombination", ec2.modify_volume, VolumeId=identity, Throughput=200)
        ec2.modify_volume(VolumeId=identity, VolumeType="io2", Iops=500)
        equal("a limit", self.volume(identity)["Iops"], 500)

    def frozen(self, identity, instance):
        ec2, equal, refused = self.ec2, self.equal, self.refused
        refused("DryRunOperation", ec2.create_snapshot, VolumeId=identity, DryRun=True)
        made = ec2.create_snapshot(VolumeId=identity, Description="before <it>", TagSpecifications=tags("snapshot", Name="then"))
        snapshot = made["SnapshotId"]
        self.wait("snapshot_completed", SnapshotIds=[snapshot])
        shown = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        wanted = {"VolumeId": identity, "State": "completed", "Progress": "100%", "VolumeSize": 2, "Description": "before <it>",
                  "Encrypted": False, "StorageTier": "standard", "Tags": [{"Key": "Name", "Value": "then"}]}
        equal("a snapshot is as it was asked for", {k: shown.get(k) for k in wanted}, wanted)
        for name, value in (("volume-id", identity), ("status", "completed"), ("tag:Name", "then"), ("description", "before*")):
            found = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": name, "Values": [value]}])["Snapshots"]
            equal(f"by {name}", [s["SnapshotId"] for s in found], [snapshot])
        equal("of nobody else", ec2.describe_snapshots(OwnerIds=["amazon"])["Snapshots"], [])
        clone = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot, VolumeType="gp3")
        equal("a volume of a snapshot has its size", (clone["Size"], clone["SnapshotId"]), (2, snapshot))
        self.wait("volume_available", VolumeIds=[clone["VolumeId"]])
        refused("InvalidParameterValue", ec2.create_volume, AvailabilityZone=ZONE, SnapshotId=snapshot, Size=1)
        read = ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
        equal("it is nobody else's", read["CreateVolumePermissions"], [])
        ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="productCodes")
        change = {"SnapshotId": snapshot, "Attribute": "createVolumePermission"}
        refused("UnsupportedOperation", ec2.modify_snapshot_attribute, **change, OperationType="add", GroupNames=["all"])
        refused("UnsupportedOperation", ec2.modify_snapshot_attribute, **change,
                CreateVolumePermission={"Add": [{"UserId": "111122223333"}]})
        ec2.modify_snapshot_attribute(**change, OperationType="remove", GroupNames=["all"])
        ec2.reset_snapshot_attribute(**change)
        ec2.attach_volume(VolumeId=clone["VolumeId"], InstanceId=instance, Device="/dev/sdc")
        refused("UnsupportedOperation", ec2.create_snapshots, InstanceSpecification={"InstanceId": instance})
        of_one = {"InstanceId": instance, "ExcludeDataVolumeIds": [clone["VolumeId"]]}
        several = ec2.create_snapshots(InstanceSpecification=of_one, CopyTagsFromSource="volume")["Snapshots"]
        equal("of the volumes of an instance", [(s["VolumeId"], s["Tags"]) for s in several],
              [(identity, [{"Key": "Name", "Value": "data"}])])
        self.wait("snapshot_completed", SnapshotIds=[s["SnapshotId"] for s in several])
        ec2.detach_volume(VolumeId=clone["VolumeId"])
        self.wait("volume_available", VolumeIds=[clone["VolumeId"]])
        # What was made from a snapshot lives on without it.
        for one in [snapshot] + [s["SnapshotId"] for s in several]:
            ec2.delete_snapshot(SnapshotId=one)
        equal("no snapshot is left", ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"], [])
        equal("the volume still says of which it was", self.volume(clone["VolumeId"])["SnapshotId"], snapshot)
        refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=["snap-00000000000000000"])
        refused("InvalidVolume.NotFound", ec2.create_snapshot, VolumeId="vol-00000000000000000")
        ec2.delete_volume(VolumeId=clone["VolumeId"])
        self.wait("volume_deleted", VolumeIds=[clone["VolumeId"]])

    def mapped(self):
        """Volumes that are made with an instance, and go with it or stay."""
        ec2, equal, refused = self.ec2, self.equal, self.refused
        disks = [{"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}},
                 {"DeviceName": "/dev/sdc", "Ebs": {"VolumeSize": 2, "DeleteOnTermination": False}},
                 {"DeviceName": "/dev/sdd", "NoDevice": ""}]
        run = {"ImageId": self.image, "InstanceType": "tiny", "MinCount": 1, "MaxCount": 1}
        refused("DryRunOperation", ec2.run_instances, **run, BlockDeviceMappings=disks, DryRun=True)
        refused("InvalidParameterValue", ec2.run_instances, **run, BlockDeviceMappings=disks[:1] * 2)
        refused("UnsupportedOperation", ec2.run_instances, **run, BlockDeviceMappings=[{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}])
        refused("MissingParameter", ec2.run_instances, **run, BlockDeviceMappings=[{"DeviceName": "/dev/sdb", "Ebs": {}}])
        # An instance that cannot be made leaves no volume behind.
        refused("InvalidParameterValue", ec2.run_instances, **{**run, "InstanceType": "z9.huge"}, BlockDeviceMappings=disks)
        before = [v["VolumeId"] for v in ec2.describe_volumes()["Volumes"] if v["State"] != "deleting"]
        equal("nothing was left", len(before), 1)
        template = ec2.create_launch_template(LaunchTemplateName="disks", LaunchTemplateData={
            "BlockDeviceMappings": disks, "TagSpecifications": tags("volume", Name="made")})["LaunchTemplate"]["LaunchTemplateId"]
        shown = ec2.describe_launch_template_versions(LaunchTemplateId=template)["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        equal("a template keeps them", shown["BlockDeviceMappings"][:2], disks[:2])
        instance = self.instance(LaunchTemplate={"LaunchTemplateId": template}, ClientToken="disks")
        self.instance(LaunchTemplate={"LaunchTemplateId": template}, ClientToken="disks")
        found = ec2.describe_volumes(Filters=[{"Name": "tag:Name", "Values": ["made"]}])["Volumes"]
        told = sorted((v["Attachments"][0]["Device"], v["Size"], v["Attachments"][0]["DeleteOnTermination"]) for v in found)
        equal("they came with it", told, [("/dev/sdb", 1, True), ("/dev/sdc", 2, False)])
        stays = next(v["VolumeId"] for v in found if v["Size"] == 2)
        goes = next(v["VolumeId"] for v in found if v["Size"] == 1)
        ec2.terminate_instances(InstanceIds=[instance])
        self.gone([instance])
        self.wait("volume_deleted", VolumeIds=[goes])
        self.wait("volume_available", VolumeIds=[stays])
        ec2.delete_volume(VolumeId=stays)
        self.wait("volume_deleted", VolumeIds=[stays])
        ec2.delete_launch_template(LaunchTemplateId=template)

    def ends(self, identity):
        self.wait("volume_available", VolumeIds=[identity])
        self.ec2.delete_volume(VolumeId=identity)
        self.wait("volume_deleted", VolumeIds=[identity])
        self.equal("no volume is left", self.ec2.describe_volumes()["Volumes"], [])

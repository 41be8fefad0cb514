"""Images and root volumes through boto3: made of machines and of snapshots, registered, copied, imported, protected."""

import time

from volumes import SOON, tags

LONGER = {"Delay": 1, "MaxAttempts": 120}


class Images:
    """`tools` are check, equal and refused of the one who calls; `disk` is an image of a disk, `kernel` one that is none."""

    def __init__(self, tools, ec2, disk, kernel):
        self.check, self.equal, self.refused = tools
        self.ec2, self.disk, self.kernel = ec2, disk, kernel

    def run(self):
        instance = self.root()
        made = self.created(instance)
        self.ran(made)
        self.registered(made)
        self.ends(instance, made)

    def image(self, identity):
        return self.ec2.describe_images(ImageIds=[identity])["Images"][0]

    def instance(self, identity):
        return self.ec2.describe_instances(InstanceIds=[identity])["Reservations"][0]["Instances"][0]

    def volumes(self, instance):
        found = self.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])["Volumes"]
        return {v["Attachments"][0]["Device"]: v for v in found}

    def started(self, **more):
        made = self.ec2.run_instances(InstanceType="tiny", MinCount=1, MaxCount=1, **more)["Instances"][0]["InstanceId"]
        self.ec2.get_waiter("instance_running").wait(InstanceIds=[made], WaiterConfig=LONGER)
        return made

    def gone(self, instance):
        self.ec2.terminate_instances(InstanceIds=[instance])
        self.ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig=LONGER)

    def until(self, what, reached, seconds=60):
        end = time.monotonic() + seconds
        while not (found := reached()):
            if time.monotonic() > end:
                self.check(what, False, "not in time")
                return None
            time.sleep(0.2)
        return found

    def root(self):
        """A machine whose root is a volume."""
        ec2, equal, refused = self.ec2, self.equal, self.refused
        image = self.image(self.disk)
        mapping = image["BlockDeviceMappings"][0]
        equal("an image of a disk", (image["RootDeviceType"], image["RootDeviceName"], mapping["DeviceName"], mapping["Ebs"]["VolumeSize"]),
              ("ebs", "/dev/sda1", "/dev/sda1", 1))
        kernel = self.image(self.kernel)
        equal("one of a kernel is none", (kernel["RootDeviceType"], kernel["BlockDeviceMappings"]), ("instance-store", []))
        for name, value in (("root-device-type", "ebs"), ("root-device-name", "/dev/sda1"), ("block-device-mapping.volume-size", "1")):
            found = ec2.describe_images(Filters=[{"Name": name, "Values": [value]}])["Images"]
            self.check(f"images by {name}", {i["ImageId"] for i in found} >= {self.disk}, found)
            self.check(f"and not others by {name}", self.kernel not in [i["ImageId"] for i in found], found)
        run = {"ImageId": self.disk, "InstanceType": "tiny", "MinCount": 1, "MaxCount": 1}
        device = lambda **ebs: [{"DeviceName": "/dev/sda1", "Ebs": ebs}]
        refused("InvalidParameterValue", ec2.run_instances, **run, BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "NoDevice": ""}])
        refused("InvalidParameterValue", ec2.run_instances, **run, BlockDeviceMappings=device(VolumeSize=2) + [
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 2}}])
        refused("InvalidParameterValue", ec2.run_instances, **run, BlockDeviceMappings=device(VolumeSize=0))
        refused("InvalidParameterValue", ec2.run_instances, **run, BlockDeviceMappings=device(SnapshotId="snap-00000000000000000"))
        refused("UnsupportedOperation", ec2.run_instances, **run, BlockDeviceMappings=device(Encrypted=True))
        refused("InvalidParameterCombination", ec2.run_instances, **run, BlockDeviceMappings=device(VolumeType="gp2", Iops=100))
        refused("DryRunOperation", ec2.run_instances, **run, DryRun=True)
        equal("nothing was left", ec2.describe_volumes()["Volumes"], [])
        instance = self.started(
            ImageId=self.disk, ClientToken="rooted", TagSpecifications=tags("volume", Name="root"),
            BlockDeviceMappings=device(VolumeSize=3, VolumeType="gp3", Iops=3000, DeleteOnTermination=False) + [
                {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}, {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 1}}])
        again = ec2.run_instances(
            **run, ClientToken="rooted", TagSpecifications=tags("volume", Name="root"),
            BlockDeviceMappings=device(VolumeSize=3, VolumeType="gp3", Iops=3000, DeleteOnTermination=False) + [
                {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}, {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 1}}])
        equal("the same request makes nothing", again["Instances"][0]["InstanceId"], instance)
        shown = self.instance(instance)
        equal("it says what it starts from", (shown["RootDeviceType"], shown["RootDeviceName"], shown["ImageId"]),
              ("ebs", "/dev/sda1", self.disk))
        equal("first of its devices", [m["DeviceName"] for m in shown["BlockDeviceMappings"]], ["/dev/sda1", "/dev/sdf", "/dev/sdg"])
        root = self.volumes(instance)["/dev/sda1"]
        equal("its root is as it was asked for", (root["Size"], root["VolumeType"], root["Iops"], root["Tags"],
                                                 root["Attachments"][0]["DeleteOnTermination"]),
              (3, "gp3", 3000, [{"Key": "Name", "Value": "root"}], False))
        found = ec2.describe_instances(Filters=[{"Name": "root-device-type", "Values": ["ebs"]}])["Reservations"]
        equal("instances by their root", [i["InstanceId"] for r in found for i in r["Instances"]], [instance])
        read = ec2.describe_instance_attribute(InstanceId=instance, Attribute="rootDeviceName")
        equal("the attribute", read["RootDeviceName"], {"Value": "/dev/sda1"})
        refused("OperationNotPermitted", ec2.detach_volume, VolumeId=root["VolumeId"])
        refused("VolumeInUse", ec2.delete_volume, VolumeId=root["VolumeId"])
        refused("InvalidParameterValue", ec2.attach_volume, VolumeId=root["VolumeId"], InstanceId=instance, Device="x y")
        for wanted in (True, False):
            ec2.modify_instance_attribute(InstanceId=instance, BlockDeviceMappings=[
                {"DeviceName": "/dev/sda1", "Ebs": {"DeleteOnTermination": wanted}}])
            equal("whether it goes along", self.instance(instance)["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"], wanted)
        of_root = {"InstanceId": instance, "ExcludeDataVolumeIds": [v["VolumeId"] for d, v in self.volumes(instance).items() if d != "/dev/sda1"]}
        several = ec2.create_snapshots(InstanceSpecification=of_root)["Snapshots"]
        equal("a snapshot of the root", [s["VolumeId"] for s in several], [root["VolumeId"]])
        refused("InvalidParameterValue", ec2.create_snapshots, InstanceSpecification={**of_root, "ExcludeBootVolume": True})
        ec2.delete_snapshot(SnapshotId=several[0]["SnapshotId"])
        return instance

    def created(self, instance):
        """An image of it, while it runs and as it is."""
        ec2, equal, refused = self.ec2, self.equal, self.refused
        wish = {"InstanceId": instance, "Name": "built", "NoReboot": True, "Description": "of a machine",
                "BlockDeviceMappings": [{"DeviceName": "/dev/sdg", "NoDevice": ""},
                                        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 2, "DeleteOnTermination": True}},
                                        {"DeviceName": "/dev/sdh", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}}],
                "TagSpecifications": tags("image", Name="built") + tags("snapshot", Name="frozen")}
        refused("DryRunOperation", ec2.create_image, **wish, DryRun=True)
        refused("InvalidInstanceID.NotFound", ec2.create_image, InstanceId="i-00000000000000000", Name="built")
        refused("InvalidAMIName.Malformed", ec2.create_image, InstanceId=instance, Name="a" * 129)
        refused("InvalidParameterValue", ec2.create_image, InstanceId=instance, Name="other", BlockDeviceMappings=[
            {"DeviceName": "/dev/sda1", "NoDevice": ""}])
        refused("InvalidBlockDeviceMapping", ec2.create_image, InstanceId=instance, Name="other", BlockDeviceMappings=[
            {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 1}}])
        refused("MissingParameter", ec2.create_image, InstanceId=instance, Name="other", BlockDeviceMappings=[
            {"DeviceName": "/dev/sdi", "Ebs": {"VolumeType": "gp3"}}])
        equal("nothing was left", ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"], [])
        made = ec2.create_image(**wish)["ImageId"]
        refused("InvalidAMIName.Duplicate", ec2.create_image, InstanceId=instance, Name="built")
        shown = self.image(made)
        self.check("it is pending at first", shown["State"] in ("pending", "available"), shown["State"])
        if shown["State"] == "pending":
            refused("InvalidAMIID.Unavailable", ec2.run_instances, ImageId=made, MinCount=1, MaxCount=1, InstanceType="tiny")
        ec2.get_waiter("image_available").wait(ImageIds=[made], WaiterConfig=LONGER)
        shown = self.image(made)
        equal("it is as it was asked for", (shown["Name"], shown["Description"], shown["RootDeviceType"], shown["RootDeviceName"],
                                           shown["Tags"], shown["SourceInstanceId"]),
              ("built", "of a machine", "ebs", "/dev/sda1", [{"Key": "Name", "Value": "built"}], instance))
        equal("with its devices", [(m["DeviceName"], m["Ebs"]["VolumeSize"], m["Ebs"]["DeleteOnTermination"], "SnapshotId" in m["Ebs"])
                                   for m in shown["BlockDeviceMappings"]],
              [("/dev/sda1", 3, False, True), ("/dev/sdf", 2, True, True), ("/dev/sdh", 1, True, False)])
        snapshots = [m["Ebs"]["SnapshotId"] for m in shown["BlockDeviceMappings"] if "SnapshotId" in m["Ebs"]]
        told = ec2.describe_snapshots(SnapshotIds=snapshots)["Snapshots"]
        equal("snapshots are tagged", {s["Tags"][0]["Value"] for s in told}, {"frozen"})
        self.check("and say what for", all(instance in s["Description"] and made in s["Description"] for s in told), told)
        refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=snapshots[0])
        kernel = self.started(ImageId=self.kernel)
        refused("UnsupportedOperation", ec2.create_image, InstanceId=kernel, Name="kernel")
        self.gone(kernel)
        return made

    def ran(self, made):
        """What is run from it has its volumes; those that are kept stay."""
        ec2, equal = self.ec2, self.equal
        instance = self.started(ImageId=made, BlockDeviceMappings=[{"DeviceName": "/dev/sdh", "NoDevice": ""},
                                                                  {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": False}}])
        volumes = self.volumes(instance)
        equal("volumes of an image", {d: (v["Size"], v["Attachments"][0]["DeleteOnTermination"]) for d, v in volumes.items()},
              {"/dev/sda1": (3, False), "/dev/sdf": (2, False)})
        of = self.image(made)["BlockDeviceMappings"][1]["Ebs"]["SnapshotId"]
        equal("made of its snapshot", volumes["/dev/sdf"]["SnapshotId"], of)
        self.gone(instance)
        for volume in volumes.values():
            ec2.get_waiter("volume_available").wait(VolumeIds=[volume["VolumeId"]], WaiterConfig=SOON)
            ec2.delete_volume(VolumeId=volume["VolumeId"])
            ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume["VolumeId"]], WaiterConfig=SOON)

    def registered(self, made):
        """As packer's builders do that make a root device of their own."""
        ec2, equal, refused = self.ec2, self.equal, self.refused
        snapshot = self.image(made)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        wish = {"Name": "surrogate", "Architecture": "x86_64", "VirtualizationType": "hvm", "RootDeviceName": "/dev/xvda",
                "EnaSupport": True, "SriovNetSupport": "simple", "BootMode": "legacy-bios", "ImdsSupport": "v2.0",
                "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeSize": 4,
                                                                           "VolumeType": "gp3", "DeleteOnTermination": True}}]}
        refused("MissingParameter", ec2.register_image, Name="surrogate", Architecture="x86_64")
        refused("InvalidBlockDeviceMapping", ec2.register_image, Name="surrogate", RootDeviceName="/dev/xvda")
        refused("InvalidSnapshot.NotFound", ec2.register_image, Name="surrogate", RootDeviceName="/dev/xvda", BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-00000000000000000"}}])
        refused("InvalidParameterValue", ec2.register_image, **{**wish, "BootMode": "punched-cards"})
        refused("DryRunOperation", ec2.register_image, **wish, DryRun=True)
        image = ec2.register_image(**wish)["ImageId"]
        ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig=LONGER)
        shown = self.image(image)
        told = {k: shown.get(k) for k in ("RootDeviceName", "EnaSupport", "SriovNetSupport", "BootMode", "ImdsSupport")}
        equal("it is as it was registered", told, {k: wish[k] for k in told})
        instance = self.started(ImageId=image)
        volumes = self.volumes(instance)
        equal("its root is as large as it says", {d: v["Size"] for d, v in volumes.items()}, {"/dev/xvda": 4})
        self.gone(instance)
        self.until("which goes along", lambda: "/dev/xvda" not in self.volumes(instance))
        ec2.deregister_image(ImageId=image)

    def ends(self, instance, made):
        ec2 = self.ec2
        snapshots = [m["Ebs"]["SnapshotId"] for m in self.image(made)["BlockDeviceMappings"] if "SnapshotId" in m["Ebs"]]
        root = self.volumes(instance)["/dev/sda1"]["VolumeId"]
        self.gone(instance)
        left = self.until("volumes went along", lambda: (v := ec2.describe_volumes()["Volumes"]) and len(v) == 1 and v)
        self.equal("but for the one that is kept", [v["VolumeId"] for v in left or []], [root])
        ec2.get_waiter("volume_available").wait(VolumeIds=[root], WaiterConfig=SOON)
        ec2.delete_volume(VolumeId=root)
        ec2.deregister_image(ImageId=made)
        for snapshot in snapshots:
            ec2.delete_snapshot(SnapshotId=snapshot)
        ec2.get_waiter("volume_deleted").wait(VolumeIds=[root], WaiterConfig=SOON)
        self.equal("no snapshot is left", ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"], [])

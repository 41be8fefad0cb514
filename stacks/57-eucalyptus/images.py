"""Images and root volumes through boto3: made of machines and of snapshots, registered, copied, imported, protected."""

import subprocess
import tarfile
import tempfile
from pathlib import Path

import boto3

from patience import Patient
from volumes import SOON, ZONE, tags

LONGER = {"Delay": 1, "MaxAttempts": 120}


class Images(Patient):
    """`tools` are check, equal and refused of the one who calls; `kernel` is an image that is no disk."""

    def __init__(self, tools, ec2, kernel):
        self.check, self.equal, self.refused = tools
        self.ec2, self.kernel = ec2, kernel
        named = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["disk"]}])
        self.disk = named["Images"][0]["ImageId"]

    def run(self):
        instance = self.root()
        made = self.created(instance)
        self.ran(made)
        self.registered(made)
        self.copied(made)
        self.kept(made)
        self.ends(instance, made)
        self.imported()

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

    def copied(self, made):
        """Copies stay when that goes of which they are."""
        ec2, equal, refused = self.ec2, self.equal, self.refused
        wish = {"SourceImageId": made, "SourceRegion": "my-corten-1", "Name": "copy"}
        refused("InvalidParameterValue", ec2.copy_image, **{**wish, "SourceRegion": "us-east-1"})
        refused("InvalidAMIID.NotFound", ec2.copy_image, **{**wish, "SourceImageId": "ami-00000000000000000"})
        refused("InvalidAMIName.Duplicate", ec2.copy_image, **{**wish, "Name": "built"})
        refused("UnsupportedOperation", ec2.copy_image, **wish, Encrypted=True)
        refused("DryRunOperation", ec2.copy_image, **wish, DryRun=True)
        copy = ec2.copy_image(**wish, CopyImageTags=True, ClientToken="copy", TagSpecifications=tags("image", by="copy"))["ImageId"]
        ec2.get_waiter("image_available").wait(ImageIds=[copy], WaiterConfig=SOON)
        shown = self.image(copy)
        equal("a copy", (shown["Name"], shown["Description"], sorted(t["Value"] for t in shown["Tags"]), shown["SourceImageId"]),
              ("copy", "of a machine", ["built", "copy"], made))
        equal("has the same devices", [(m["DeviceName"], m["Ebs"]["VolumeSize"]) for m in shown["BlockDeviceMappings"]],
              [("/dev/sda1", 3), ("/dev/sdf", 2), ("/dev/sdh", 1)])
        refused("DryRunOperation", ec2.run_instances, ImageId=copy, InstanceType="tiny", MinCount=1, MaxCount=1, DryRun=True)
        ec2.deregister_image(ImageId=copy)
        kernel = ec2.copy_image(SourceImageId=self.kernel, SourceRegion="my-corten-1", Name="kernel")["ImageId"]
        ec2.get_waiter("image_available").wait(ImageIds=[kernel], WaiterConfig=SOON)
        refused("DryRunOperation", ec2.run_instances, ImageId=kernel, InstanceType="tiny", MinCount=1, MaxCount=1, DryRun=True)
        ec2.deregister_image(ImageId=kernel)

        snapshot = self.image(made)["BlockDeviceMappings"][1]["Ebs"]["SnapshotId"]
        wish = {"SourceSnapshotId": snapshot, "SourceRegion": "my-corten-1"}
        refused("InvalidParameterValue", ec2.copy_snapshot, **{**wish, "SourceRegion": "us-east-1"})
        refused("InvalidSnapshot.NotFound", ec2.copy_snapshot, **{**wish, "SourceSnapshotId": "snap-00000000000000000"})
        refused("DryRunOperation", ec2.copy_snapshot, **wish, DryRun=True)
        copy = ec2.copy_snapshot(**wish, Description="again", TagSpecifications=tags("snapshot", of="copy"))["SnapshotId"]
        ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[copy], WaiterConfig=SOON)
        shown = ec2.describe_snapshots(SnapshotIds=[copy])["Snapshots"][0]
        equal("a copy of a snapshot", (shown["VolumeSize"], shown["Description"], shown["Tags"]), (1, "again", [{"Key": "of", "Value": "copy"}]))
        again = ec2.copy_snapshot(SourceSnapshotId=copy, SourceRegion="my-corten-1")["SnapshotId"]
        ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[again], WaiterConfig=SOON)
        ec2.delete_snapshot(SnapshotId=copy)
        volume = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=again)["VolumeId"]
        ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=SOON)
        ec2.delete_volume(VolumeId=volume)
        ec2.delete_snapshot(SnapshotId=again)
        ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume], WaiterConfig=SOON)

    def kept(self, made):
        """What packer sets of images that it has built."""
        ec2, equal, refused = self.ec2, self.equal, self.refused
        ec2.enable_image_deprecation(ImageId=made, DeprecateAt="2099-01-01T00:00:00Z")
        equal("when it is over", self.image(made)["DeprecationTime"], "2099-01-01T00:00:00Z")
        refused("InvalidParameterValue", ec2.enable_image_deprecation, ImageId=made, DeprecateAt="2001-01-01T00:00:00Z")
        ec2.disable_image_deprecation(ImageId=made)
        self.check("it is not any more", "DeprecationTime" not in self.image(made))
        refused("UnsupportedOperation", ec2.enable_image_deregistration_protection, ImageId=made, WithCooldown=True)
        equal("protected", ec2.enable_image_deregistration_protection(ImageId=made)["Return"], "enabled-without-cooldown")
        equal("which is shown", self.image(made)["DeregistrationProtection"], "enabled-without-cooldown")
        refused("OperationNotPermitted", ec2.deregister_image, ImageId=made)
        equal("no more", ec2.disable_image_deregistration_protection(ImageId=made)["Return"], "disabled")
        refused("UnsupportedOperation", ec2.deregister_image, ImageId=made, DeleteAssociatedSnapshots=True)
        for call in (ec2.disable_image_deprecation, ec2.enable_image_deregistration_protection, ec2.disable_image_deregistration_protection):
            refused("InvalidAMIID.NotFound", call, ImageId="ami-00000000000000000")

    def imported(self):
        """A disk in a bucket becomes a snapshot, and an image of it; what is wrong is said by the task."""
        ec2, equal, refused = self.ec2, self.equal, self.refused
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="disks")
        s3.put_object(Bucket="disks", Key="a/plain.raw", Body=bytes(2 << 20))
        s3.put_object(Bucket="disks", Key="wrong.qcow2", Body=b"this is no disk")
        place = {"S3Bucket": "disks", "S3Key": "a/plain.raw"}
        image = lambda **disk: ec2.import_image(DiskContainers=[disk])
        image.__name__ = "import_image"
        for code, disk in (("MissingParameter", {"Format": "RAW"}), ("InvalidParameter", {"Format": "RAW", "UserBucket": {**place, "S3Bucket": "none"}}),
                           ("InvalidParameterValue", {"Format": "FLOPPY", "UserBucket": place}),
                           ("InvalidParameterValue", {"Format": "RAW", "Url": "ftp://example.org/disk.raw"}),
                           ("InvalidParameterCombination", {"Format": "RAW", "UserBucket": place, "Url": "https://example.org/disk.raw"}),
                           ("InvalidSnapshot.NotFound", {"SnapshotId": "snap-00000000000000000"})):
            refused(code, image, **disk)
        refused("UnsupportedOperation", ec2.import_image, DiskContainers=[{"UserBucket": place}] * 2)
        refused("UnsupportedOperation", ec2.import_image, DiskContainers=[{"UserBucket": place}], Encrypted=True)
        refused("DryRunOperation", ec2.import_image, DiskContainers=[{"UserBucket": place}], DryRun=True)
        refused("DryRunOperation", ec2.import_snapshot, DiskContainer={"UserBucket": place}, DryRun=True)

        wrong = ec2.import_image(DiskContainers=[{"Format": "QCOW2", "UserBucket": {"S3Bucket": "disks", "S3Key": "wrong.qcow2"}}])
        tasks = lambda task: ec2.describe_import_image_tasks(ImportTaskIds=[task["ImportTaskId"]])["ImportImageTasks"][0]
        found = self.until("what is no disk is refused", lambda: (t := tasks(wrong))["Status"] == "deleted" and t)
        self.check("with the reason", found and "ClientError" in found["StatusMessage"], found)
        equal("tasks by state", [t["ImportTaskId"] for t in ec2.describe_import_image_tasks(
            Filters=[{"Name": "task-state", "Values": ["deleted"]}])["ImportImageTasks"]], [wrong["ImportTaskId"]])
        equal("cancelled", ec2.cancel_import_task(ImportTaskId=wrong["ImportTaskId"])["State"], "deleting")
        refused("InvalidConversionTaskId.Malformed", ec2.describe_import_image_tasks, ImportTaskIds=[wrong["ImportTaskId"]])
        refused("InvalidConversionTaskId.Malformed", ec2.cancel_import_task, ImportTaskId="import-ami-00000000000000000")
        refused("InvalidConversionTaskId.Malformed", ec2.cancel_import_task, ImportTaskId="x")

        self.exported(s3, tasks)
        wish = {"Description": "brought in", "ClientToken": "brought", "TagSpecifications": tags("import-snapshot-task", a="b"),
                "DiskContainer": {"Description": "plain", "Format": "RAW", "Url": "s3://disks/a/plain.raw"}}
        before = {i["ImageId"] for i in ec2.describe_images(Owners=["self"])["Images"]}
        task = ec2.import_snapshot(**wish)
        equal("the same request makes nothing", ec2.import_snapshot(**wish)["ImportTaskId"], task["ImportTaskId"])
        ec2.get_waiter("snapshot_imported").wait(ImportTaskIds=[task["ImportTaskId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        shown = ec2.describe_import_snapshot_tasks(ImportTaskIds=[task["ImportTaskId"]])["ImportSnapshotTasks"][0]
        detail = shown["SnapshotTaskDetail"]
        equal("it says from where", (shown["Description"], shown["Tags"], detail["Description"], detail["Format"], detail["Url"], detail["UserBucket"]),
              ("brought in", [{"Key": "a", "Value": "b"}], "plain", "RAW", "s3://disks/a/plain.raw", place))
        snapshot = detail["SnapshotId"]
        told = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        equal("a snapshot of it", (told["State"], told["VolumeSize"], told["Description"]), ("completed", 1, "brought in"))
        equal("and no image is seen", {i["ImageId"] for i in ec2.describe_images(Owners=["self"])["Images"]}, before)
        refused("IncorrectState", ec2.cancel_import_task, ImportTaskId=task["ImportTaskId"])
        volume = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot, Size=2)["VolumeId"]
        ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=SOON)
        ec2.delete_volume(VolumeId=volume)
        made = ec2.register_image(Name="brought", RootDeviceName="/dev/sda1", BlockDeviceMappings=[
            {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}])["ImageId"]
        ec2.get_waiter("image_available").wait(ImageIds=[made], WaiterConfig=LONGER)
        of = ec2.import_image(DiskContainers=[{"SnapshotId": snapshot}])
        self.until("an image of a snapshot", lambda: tasks(of)["Status"] == "completed")
        for one in (made, tasks(of)["ImageId"]):
            ec2.deregister_image(ImageId=one)
        ec2.delete_snapshot(SnapshotId=snapshot)
        nowhere = ec2.import_snapshot(DiskContainer={"Format": "VMDK", "UserBucket": {"S3Bucket": "disks", "S3Key": "none"}})
        tasks = lambda: ec2.describe_import_snapshot_tasks(ImportTaskIds=[nowhere["ImportTaskId"]])["ImportSnapshotTasks"][0]["SnapshotTaskDetail"]
        self.until("what is not there is said", lambda: tasks()["Status"] == "error")
        self.check("by name", '"none"' in tasks()["StatusMessage"], tasks())
        ec2.cancel_import_task(ImportTaskId=nowhere["ImportTaskId"])
        equal("no snapshot is left", ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"], [])
        ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume], WaiterConfig=SOON)
        for key in ("a/plain.raw", "wrong.qcow2"):
            s3.delete_object(Bucket="disks", Key=key)
        s3.delete_bucket(Bucket="disks")

    def exported(self, s3, tasks):
        """What Hyper-V and VMware export: a VHD, and an OVA with one disk."""
        with tempfile.TemporaryDirectory() as folder:
            at = Path(folder)
            (at / "disk.raw").write_bytes(b"a disk".ljust(2 << 20, b"\0"))
            for form, name, options in (("vpc", "disk.vhd", "force_size=on"), ("vmdk", "disk.vmdk", "subformat=streamOptimized")):
                subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, "-o", options, at / "disk.raw", at / name], check=True)
            (at / "m.ovf").write_text("<Envelope/>")
            with tarfile.open(at / "m.ova", "w", format=tarfile.USTAR_FORMAT) as ova:
                for name in ("m.ovf", "disk.vmdk"):
                    ova.add(at / name, arcname=name)
            for form, name in (("VHD", "disk.vhd"), ("OVA", "m.ova")):
                s3.upload_file(str(at / name), "disks", name)
                task = self.ec2.import_image(DiskContainers=[{"Format": form, "UserBucket": {"S3Bucket": "disks", "S3Key": name}}])
                done = self.until(f"a {form} is imported", lambda: (t := tasks(task))["Status"] == "completed" and t)
                self.ec2.deregister_image(ImageId=done["ImageId"])
                s3.delete_object(Bucket="disks", Key=name)

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

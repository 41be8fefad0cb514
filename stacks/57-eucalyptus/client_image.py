"""A container image with the unmodified aws command and boto3: this very Python with its modules, the libraries that they
need, and busybox beside them. client_image.py OUT.tar"""

import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tarfile

# Of all that boto3 knows of AWS, what is asked for in the check.
SERVICES = {"s3", "ec2", "sts", "iam"}
LEFT_OUT = {"test", "idlelib", "ensurepip", "lib2to3", "tkinter", "turtledemo", "site-packages", "examples"}
HOME = "opt/python"


class Tree:
    """The one layer, in the making."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)
        self.there = set()

    def member(self, name, kind, mode, link="", content=b"", mtime=0):
        for parent in reversed(pathlib.PurePosixPath(name).parents):
            if str(parent) not in (".", *self.there):
                self.there.add(str(parent))
                self.put(str(parent), tarfile.DIRTYPE, 0o755)
        if name not in self.there:
            self.there.add(name)
            self.put(name, kind, mode, link, content, mtime)

    def put(self, name, kind, mode, link="", content=b"", mtime=0):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.linkname, info.size, info.mtime = kind, mode, link, len(content), mtime
        self.tar.addfile(info, io.BytesIO(content))

    def file(self, name, content, mode=0o644):
        self.member(name, tarfile.REGTYPE, mode, content=content)

    def link(self, name, target):
        self.member(name, tarfile.SYMTYPE, 0o777, link=target)

    def copy(self, source, name):
        """With its time: what Python has compiled is good for no other."""
        source = pathlib.Path(source)
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self.member(name, tarfile.REGTYPE, mode, content=source.read_bytes(), mtime=int(source.stat().st_mtime))

    def folder(self, source, name, keeps=lambda path: True):
        for folder, folders, files in os.walk(source):
            folders[:] = sorted(f for f in folders if f not in LEFT_OUT and keeps(pathlib.Path(folder, f)))
            for file in sorted(files):
                path = pathlib.Path(folder, file)
                if keeps(path) and path.exists():
                    self.copy(path, f"{name}/{path.relative_to(source)}")


def libraries(programs):
    """What the dynamic linker would load for these, and the linker itself."""
    found = set()
    for program in programs:
        told = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        found.update(re.findall(r"(/\S+) \(0x", told))
    return sorted(found)


def is_needed(path):
    """The command brings a botocore of its own, with all that it knows of AWS; of boto3's, what the check asks for."""
    parts = path.parts
    if parts[-1] in {"pip", "setuptools"} or path.suffix == ".rst":
        return False
    if "data" in parts and "awscli" not in parts and {"botocore", "boto3"} & set(parts):
        below = parts[parts.index("data") + 1 :]
        return not below or below[0] in SERVICES or below[0].endswith(".json")
    return True


def tree():
    layer = Tree()
    python = pathlib.Path(sys.executable).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    standard = pathlib.Path(sysconfig.get_path("stdlib"))
    modules = pathlib.Path(sysconfig.get_path("purelib"))
    layer.copy(python, f"{HOME}/bin/{version}")
    layer.folder(standard, f"{HOME}/lib/{version}", lambda path: not path.name.startswith("config-"))
    layer.folder(modules, f"{HOME}/lib/{version}/site-packages", is_needed)
    extensions = list(pathlib.Path(standard, "lib-dynload").glob("*.so"))
    for library in libraries([python, *extensions, *modules.rglob("*.so")]):
        layer.copy(library, library.lstrip("/"))
    busybox = pathlib.Path("/bin/busybox").resolve()
    layer.copy(busybox, "bin/busybox")
    for applet in ("sh", "cat", "sleep", "wget", "nslookup", "env", "timeout"):
        layer.link(f"bin/{applet}", "busybox")
    layer.file("bin/aws", f'#!/bin/sh\nexec /{HOME}/bin/{version} -m awscli "$@"\n'.encode(), 0o755)
    layer.link("bin/python3", f"/{HOME}/bin/{version}")
    layer.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    layer.put("tmp", tarfile.DIRTYPE, 0o1777)
    layer.put("root", tarfile.DIRTYPE, 0o700)
    layer.tar.close()
    return layer.bytes.getvalue()


def main():
    layer = tree()
    blobs = {}

    def described(kind, content):
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    layer_told = described("layer.v1.tar", layer)
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["sleep", "1000000"], "Env": ["PATH=/bin", f"PYTHONHOME=/{HOME}", "HOME=/tmp"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_told["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("config.v1+json", json.dumps(config).encode()),
        "layers": [layer_told],
    }
    index = {"schemaVersion": 2, "manifests": [described("manifest.v1+json", json.dumps(manifest).encode())]}
    with tarfile.open(sys.argv[1], "w") as out:
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
        files.update({f"blobs/sha256/{digest}": content for digest, content in blobs.items()})
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))


main()

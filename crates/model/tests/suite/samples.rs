//! One full document per kind: every field that a client may see, with a value that is not its default.

use serde_json::{Value, json};

use crate::network_samples as network;

/// The sample of a kind; every kind has one.
pub(crate) fn sample(kind: &str) -> Value {
    let body = match kind {
        "Event" => event(),
        "Secret" => json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "YQ==", "tls.key": "Yg=="}}),
        "Domain" => json!({"spec": {"parent": "root", "description": "all of it"}, "status": {}}),
        "Project" => json!({
            "spec": {"domain": "root", "description": "a team"},
            "status": {"conditions": [condition()]},
        }),
        "User" => json!({
            "spec": {"domain": "root", "groups": ["ops"], "disabled": true, "email": "a@example.org"},
            "status": {},
        }),
        "AccessKey" => json!({
            "spec": {
                "user": "ann", "tokenSha256": "ab".repeat(32),
                "expires": "2031-01-02T03:04:05.678Z", "description": "for the build",
            },
            "status": {},
        }),
        "Role" => json!({
            "spec": {"rules": [{
                "effect": "Deny", "verbs": ["delete"], "resources": ["instances/console"],
                "groups": ["compute.corten.dev"], "names": ["db"],
            }]},
            "status": {},
        }),
        "RoleBinding" => json!({
            "spec": {
                "role": "viewer", "subjects": [{"kind": "Group", "name": "ops"}], "projects": ["*"],
            },
            "status": {},
        }),
        "Quota" => json!({
            "spec": {"cpu": "1500m", "memory": "10Gi", "disk": "100Gi", "counts": {"instances": 10}},
            "status": {
                "used": {"cpu": "1", "memory": "1Gi", "disk": "5Gi"}, "counts": {"instances": 1},
            },
        }),
        "Zone" => json!({"spec": {"description": "the cellar"}, "status": {}}),
        "Rack" => json!({"spec": {"zone": "east"}, "status": {}}),
        "Cluster" => json!({"spec": {"driver": "qemu"}, "status": {}}),
        "Host" => host(),
        "Lease" => json!({
            "spec": {
                "holder": "host-1", "durationSeconds": 15, "renewedAt": "2031-01-02T03:04:05Z", "epoch": 7,
            },
            "status": {},
        }),
        "Instance" => json!({"spec": instance_spec(), "status": instance_status()}),
        "InstanceType" => json!({
            "spec": {"resources": {"cpu": "2", "memory": "4Gi", "disk": "20Gi"}, "description": "large"},
            "status": {},
        }),
        "InstanceSet" => json!({
            "spec": {
                "replicas": 3,
                "template": {
                    "metadata": {"labels": {"app": "web"}, "annotations": {"note": "kept"}},
                    "spec": instance_spec(),
                },
            },
            "status": {
                "observedGeneration": 2, "replicas": 3, "readyReplicas": 2, "conditions": [condition()],
            },
        }),
        "Image" => image(),
        "KeyPair" => json!({"spec": {"publicKey": "ssh-ed25519 AAAA me@here"}, "status": {}}),
        "LaunchTemplate" => json!({
            "spec": {
                "name": "web", "defaultVersion": 1, "nextVersion": 2,
                "versions": [{
                    "number": 1, "description": "first", "parameters": {"InstanceType": "small"},
                    "created": "2031-01-02T03:04:05Z",
                }],
            },
            "status": {},
        }),
        "PlacementGroup" => {
            json!({"spec": {"name": "apart", "strategy": "spread", "level": "rack"}, "status": {}})
        }
        other => match network::sample(other).or_else(|| iam(other)).or_else(|| storage(other)) {
            Some(body) => body,
            None => panic!("{other} has no sample: add one"),
        },
    };
    let mut document = json!({"metadata": metadata()});
    document.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    document
}

/// Samples of the kinds of storage.
fn storage(kind: &str) -> Option<Value> {
    Some(match kind {
        "Bucket" => json!({
            "spec": {
                "versioning": "Enabled",
                "encryption": "AES256",
                "objectLock": {"retention": {"mode": "GOVERNANCE", "days": 30}},
                "lifecycle": [{
                    "id": "logs", "disabled": true,
                    "filter": {"prefix": "log/", "tags": {"keep": "no"}, "largerThanBytes": 10},
                    "expiration": {"days": 30}, "noncurrentExpiration": {"days": 7, "keepVersions": 2},
                }],
                "cors": [{
                    "origins": ["https://*.example.com"], "methods": ["GET"], "headers": ["*"],
                    "exposedHeaders": ["etag"], "maxAgeSeconds": 60,
                }],
                "policy": "{\"Statement\": []}",
                "tags": {"team": "web"},
                "publicAccessBlock": {"blockPublicPolicy": true, "restrictPublicBuckets": true},
            },
            "status": {},
        }),
        "Pool" => {
            json!({
                "spec": {"driver": "files", "path": "/mnt/pool", "capacity": "1Ti"},
                "status": {"maker": "h1", "made": true, "conditions": [condition()]},
            })
        }
        "Volume" => json!({
            "spec": {
                "size": "10Gi", "source": {"snapshot": "monday"}, "pool": "default", "host": "h1",
                "limits": {"iops": 500, "bytesPerSecond": 1_048_576},
                "revert": {"snapshot": "monday", "count": 2}, "whenFull": "error",
                "encrypted": true, "sealedKey": "v1:c2VhbGVk",
            },
            "status": {
                "phase": "InUse", "host": "h1", "moves": 2, "lost": ["h2"], "size": "10Gi", "usedBytes": "1Gi",
                "attachment": {"instance": "web", "device": "vdb", "epoch": 4}, "epoch": 4, "usedAs": "Disk", "revertsDone": 1,
                "conditions": [condition()],
            },
        }),
        "VolumeSnapshot" => json!({
            "spec": {"volume": "data", "sealedKey": "v1:c2VhbGVk"},
            "status": {"ready": true, "host": "h1", "pool": "default", "size": "10Gi", "conditions": [condition()]},
        }),
        "VolumeBackup" => json!({
            "spec": {"volume": "data", "bucket": "backups", "full": true, "sealedKey": "v1:c2VhbGVk"},
            "status": {
                "phase": "Ready", "size": "10Gi", "base": "sunday", "readBytes": "1Gi", "storedBytes": "100Mi",
                "digest": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
                "volumeUid": "0b4cf2a6-8a0e-4d4b-9c3e-1f2a3b4c5d6e", "vault": "1b4cf2a6-8a0e-4d4b-9c3e-1f2a3b4c5d6e",
                "taken": "2026-01-31T12:00:00Z", "conditions": [condition()],
            },
        }),
        "BackupPlan" => json!({
            "spec": {
                "volumes": ["data", "logs"], "everySeconds": 86_400,
                "keep": {"count": 7, "maxAgeSeconds": 1_209_600}, "bucket": "backups", "suspended": true,
            },
            "status": {
                "last": "2026-01-31T12:00:00Z", "next": "2026-02-01T12:00:00Z", "backups": 7,
                "conditions": [condition()],
            },
        }),
        _ => return None,
    })
}

/// Samples of IAM's kinds.
fn iam(kind: &str) -> Option<Value> {
    let document = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    let grants =
        json!({"policies": {"own": document}, "attached": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]});
    let spec = match kind {
        "IamUser" => json!({
            "name": "Ann", "path": "/people/", "groups": ["staff"], "grants": grants,
            "boundary": "arn:aws:iam::aws:policy/ReadOnlyAccess",
            "accessKeys": [{
                "id": "AKIAAAAAAAAAAAAAAAAA", "secret": "s", "sealedSecret": "v1.x", "inactive": true,
                "created": "2031-01-02T03:04:05Z",
            }],
        }),
        "IamGroup" => json!({"name": "staff", "path": "/people/", "grants": grants}),
        "IamRole" => json!({
            "name": "Deploy", "path": "/ci/", "description": "for the build", "trust": document,
            "maxSessionSeconds": 7200, "grants": grants, "boundary": "arn:aws:iam::aws:policy/ReadOnlyAccess",
        }),
        "IamPolicy" => json!({
            "name": "look", "path": "/ci/", "description": "looks", "defaultVersion": "v1", "nextVersion": 2,
            "versions": [{"id": "v1", "document": document, "created": "2031-01-02T03:04:05Z"}],
        }),
        "IamInstanceProfile" => json!({"name": "Web", "path": "/ci/", "role": "Deploy"}),
        _ => return None,
    };
    Some(json!({"spec": spec, "status": {}}))
}

fn metadata() -> Value {
    json!({
        "name": "one", "generateName": "one-", "namespace": "team", "uid": "0123abcd-4567",
        "resourceVersion": "42", "generation": 3,
        "creationTimestamp": "2031-01-02T03:04:05Z", "deletionTimestamp": "2031-01-02T03:04:06Z",
        "deletionGracePeriodSeconds": 30,
        "labels": {"app": "web"}, "annotations": {"example.org/note": "anything at all"},
        "finalizers": ["compute.corten.dev/agent"],
        "ownerReferences": [{
            "apiVersion": "compute.corten.dev/v1", "kind": "InstanceSet", "name": "web", "uid": "0a",
            "controller": true, "blockOwnerDeletion": true,
        }],
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
    })
}

pub(crate) fn condition() -> Value {
    json!({
        "type": "Ready", "status": "False", "reason": "Crashed", "message": "it ended with code 1",
        "lastTransitionTime": "2031-01-02T03:04:05Z", "observedGeneration": 3,
    })
}

fn event() -> Value {
    json!({
        "involvedObject": {
            "apiVersion": "compute.corten.dev/v1", "kind": "Instance", "namespace": "team", "name": "one",
            "uid": "0a", "resourceVersion": "41", "fieldPath": "spec.power",
        },
        "reason": "Bound", "message": "runs on host-1",
        "source": {"component": "scheduler", "host": "host-1"},
        "firstTimestamp": "2031-01-02T03:04:05Z", "lastTimestamp": "2031-01-02T03:05:05Z",
        "count": 2, "type": "Warning",
    })
}

fn host() -> Value {
    json!({
        "spec": {
            "zone": "east", "rack": "r1", "cluster": "c1", "cordoned": true,
            "taints": [{"key": "gpu", "value": "yes"}], "cpuOvercommit": 2.5,
        },
        "status": {
            "capacity": {"cpu": "16", "memory": "64Gi", "disk": "1Ti"},
            "drivers": [{
                "name": "qemu", "version": "10.0", "cells": [{"isolation": "microvm", "payload": "kernel"}],
                "accelerator": "kvm", "unavailable": "no /dev/kvm",
            }],
            "pools": [{"name": "files", "unavailable": "is not mounted"}],
            "endpoint": "10.0.0.1:7444", "images": ["ab"], "machineId": "m", "bootId": "b",
            "kernel": "6.12", "agentVersion": "0.1.0", "lastSeen": "2031-01-02T03:04:05Z",
            "conditions": [condition()],
        },
    })
}

fn instance_spec() -> Value {
    json!({
        "isolation": "namespace",
        "payload": {"containers": {"containers": [{
            "name": "web", "image": "nginx", "command": ["nginx"], "args": ["-g"],
            "env": [{"name": "MODE", "value": "fast"}], "workingDir": "/srv", "tty": true,
        }]}},
        "type": "small",
        "resources": {"cpu": "500m", "memory": "256Mi", "disk": "1Gi"},
        "power": "paused", "restartPolicy": "Never", "stopGraceSeconds": 5, "keyPair": "mine", "instanceProfile": "web",
        "userData": "#!/bin/sh\n", "machine": "microvm", "firmware": "uefi",
        "placement": {
            "host": "host-1", "zone": "east", "hostLabels": {"disk": "ssd"}, "strategy": "pack",
            "affinity": [{"labels": {"app": "db"}, "topology": "rack", "prefer": true}],
            "antiAffinity": [{"labels": {"app": "web"}, "topology": "zone", "prefer": true}],
            "spread": [{"labels": {"app": "web"}, "topology": "rack", "maxSkew": 2, "prefer": true}],
            "tolerations": [{"key": "gpu", "value": "yes"}],
            "priority": -5, "onHostLoss": "restart",
        },
        "networks": [
            {"subnet": "web", "address": "10.0.1.7", "securityGroups": ["web"], "primary": true},
            {"port": "spare"},
        ],
        "protected": true, "reboots": 2,
    })
}

fn instance_status() -> Value {
    json!({
        "phase": "Running", "observedGeneration": 3, "host": "host-1", "driver": "oci",
        "startedAt": "2031-01-02T03:04:05Z", "restarts": 4, "exitCode": -1, "rebootsDone": 1,
        "addresses": ["10.0.0.7"], "ports": ["one-0"], "releasedPorts": [{"port": "spare", "at": "2031-01-02T03:04:06Z"}],
        "sshEndpoint": "127.0.0.1:2222",
        "containers": [{"name": "web", "running": true, "exitCode": 1, "restarts": 2}],
        "conditions": [condition()],
    })
}

fn image() -> Value {
    json!({
        "spec": {
            "format": "kernel", "source": {"url": "https://a/k", "initrdUrl": "https://a/i"},
            "sha256": "ab".repeat(32), "visibility": "public", "cmdline": "quiet", "description": "tiny",
        },
        "status": {
            "phase": "Importing",
            "artifacts": [{"role": "initrd", "sha256": "cd".repeat(32), "size": "1Mi"}],
            "virtualSize": "2Gi", "received": "12Ki", "conditions": [condition()],
        },
    })
}

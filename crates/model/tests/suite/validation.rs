//! What is said of objects that break their kind's rules: the field, and what to do.

use model::{AnyObject, kind_of};
use serde_json::{Value, json};

fn read(kind: &str, document: &Value) -> Box<dyn AnyObject> {
    let mut object = (kind_of(kind).unwrap().decode)(document.to_string().as_bytes(), true).unwrap();
    object.set_defaults();
    object
}

/// A valid virtual machine with one value replaced, by JSON pointer.
fn vm_with(pointer: &str, value: Value) -> Value {
    let mut document = json!({
        "metadata": {"name": "vm", "namespace": "p", "labels": {}, "annotations": {}, "ownerReferences": []},
        "spec": {
            "isolation": "vm", "payload": {"disk": {"image": "debian"}},
            "resources": {"cpu": 1, "memory": "1Gi"}, "placement": {},
        },
    });
    if let Some((parent, field)) = pointer.rsplit_once('/') {
        document.pointer_mut(parent).unwrap()[field] = value;
    }
    document
}

fn fields(kind: &str, document: &Value) -> Vec<String> {
    read(kind, document).validate().iter().map(|e| e.field.clone()).collect()
}

#[test]
fn a_bad_instance_is_told_which_field_is_bad() {
    assert_eq!(fields("instance", &vm_with("", json!(null))), [""; 0]);
    let containers = |list: Value| json!({"containers": {"containers": list}});
    let placed = |field: &str, rule: Value| json!({field: [rule]});
    for (pointer, value, expected) in [
        ("/metadata/name", json!("Not-A-Name"), "metadata.name"),
        ("/metadata/labels", json!({"-a": "b"}), "metadata.labels[-a]"),
        ("/metadata/labels", json!({"/a": "b"}), "metadata.labels[/a]"),
        ("/metadata/labels", json!({"a": "no spaces"}), "metadata.labels[a]"),
        ("/metadata/annotations", json!({"a/b/c": "x"}), "metadata.annotations[a/b/c]"),
        ("/metadata/annotations", json!({"a": "x".repeat(300_000)}), "metadata.annotations"),
        ("/metadata/finalizers", json!(["not ok"]), "metadata.finalizers"),
        (
            "/metadata/ownerReferences",
            json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": ""}]),
            "metadata.ownerReferences[0].uid",
        ),
        ("/spec/isolation", json!("process"), "spec.isolation"),
        ("/spec/payload", json!({"disk": {"image": ""}}), "spec.payload.disk.image"),
        ("/spec/payload", json!({"disk": {"image": "debian", "volume": "root"}}), "spec.payload.disk.image"),
        ("/spec/payload", json!({"disk": {"volume": "Bad Name"}}), "spec.payload.disk.volume"),
        (
            "/spec/payload",
            json!({"disk": {"template": {"spec": {"size": "1Gi"}}}}),
            "spec.payload.disk.template.spec.source",
        ),
        ("/spec/volumes", json!([{"template": {"spec": {}}}]), "spec.volumes[0].template.spec.size"),
        ("/spec/volumes", json!([{}]), "spec.volumes[0].volume"),
        ("/spec/payload", json!({"kernel": {"image": "Bad Name"}}), "spec.payload.kernel.image"),
        (
            "/spec/payload",
            json!({"kernel": {"image": "k", "cmdline": "x".repeat(2049)}}),
            "spec.payload.kernel.cmdline",
        ),
        ("/spec/payload", containers(json!([])), "spec.payload.containers.containers"),
        (
            "/spec/payload",
            containers(json!([{"name": "Web", "image": "nginx"}])),
            "spec.payload.containers.containers[0].name",
        ),
        (
            "/spec/payload",
            containers(json!([{"name": "a", "image": "x"}, {"name": "a", "image": "x"}])),
            "spec.payload.containers.containers[1].name",
        ),
        (
            "/spec/payload",
            containers(json!([{"name": "a", "image": ""}])),
            "spec.payload.containers.containers[0].image",
        ),
        (
            "/spec/payload",
            containers(json!([{"name": "a", "image": "x", "env": [{"name": "A=B"}]}])),
            "spec.payload.containers.containers[0].env[0].name",
        ),
        (
            "/spec/payload",
            containers(json!([{"name": "a", "image": "x", "workingDir": "srv"}])),
            "spec.payload.containers.containers[0].workingDir",
        ),
        ("/spec/resources", json!({"cpu": 0, "memory": "1Gi"}), "spec.resources.cpu"),
        ("/spec/resources", json!({"cpu": 4097, "memory": "1Gi"}), "spec.resources.cpu"),
        ("/spec/resources", json!({"cpu": 1, "memory": "31Mi"}), "spec.resources.memory"),
        ("/spec/resources", json!({"cpu": 1, "memory": "65Ti"}), "spec.resources.memory"),
        ("/spec/userData", json!("x".repeat(65_537)), "spec.userData"),
        ("/spec/stopGraceSeconds", json!(3601), "spec.stopGraceSeconds"),
        ("/spec/placement", placed("affinity", json!({})), "spec.placement.affinity[0].labels"),
        ("/spec/placement", placed("antiAffinity", json!({})), "spec.placement.antiAffinity[0].labels"),
        ("/spec/placement", placed("spread", json!({"maxSkew": 1})), "spec.placement.spread[0].labels"),
        (
            "/spec/placement",
            placed("spread", json!({"labels": {"a": "b"}})),
            "spec.placement.spread[0].maxSkew",
        ),
        ("/spec/placement", placed("tolerations", json!({})), "spec.placement.tolerations[0].key"),
        ("/spec/placement", json!({"host": "h1", "onHostLoss": "restart"}), "spec.placement.onHostLoss"),
    ] {
        let found = fields("instance", &vm_with(pointer, value.clone()));
        assert!(found.iter().any(|field| field == expected), "{pointer}: expected {expected}, got {found:?}");
    }
}

#[test]
fn rules_of_other_isolations() {
    let pod = json!({
        "metadata": {"name": "pod"},
        "spec": {
            "isolation": "namespace", "machine": "q35",
            "payload": {"containers": {"containers": [{"name": "a", "image": "x"}]}},
        },
    });
    assert_eq!(fields("instance", &pod), ["spec.machine"], "containers need no resources, and no machine");
    let command = json!({
        "metadata": {"name": "job"},
        "spec": {"isolation": "process", "payload": {"command": {"argv": [], "env": [{"name": ""}]}}},
    });
    assert_eq!(
        fields("instance", &command),
        ["spec.payload.command.argv", "spec.payload.command.env[0].name"]
    );
}

#[test]
fn other_kinds_name_their_fields_too() {
    for (kind, spec, expected) in [
        ("host", json!({"cpuOvercommit": 0.5}), "spec.cpuOvercommit"),
        ("host", json!({"cpuOvercommit": 65}), "spec.cpuOvercommit"),
        ("host", json!({"taints": [{"key": ""}]}), "spec.taints[0].key"),
        ("rack", json!({}), "spec.zone"),
        ("lease", json!({"durationSeconds": 5}), "spec.holder"),
        ("lease", json!({"holder": "a", "durationSeconds": 0}), "spec.durationSeconds"),
        ("quota", json!({"counts": {"hosts": 1}}), "spec.counts[hosts]"),
        ("user", json!({"groups": ["corten:admins"]}), "spec.groups[0]"),
        ("accesskey", json!({"tokenSha256": "ab".repeat(32)}), "spec.user"),
        ("accesskey", json!({"user": "a", "tokenSha256": "secret"}), "spec.tokenSha256"),
        ("role", json!({"rules": [{"resources": ["*"]}]}), "spec.rules[0].verbs"),
        ("role", json!({"rules": [{"verbs": ["*"]}]}), "spec.rules[0].resources"),
        ("rolebinding", json!({"role": "r", "projects": ["*"]}), "spec.subjects"),
        ("instancetype", json!({"resources": {"cpu": 1}}), "spec.resources.memory"),
        ("image", json!({"sha256": "short"}), "spec.sha256"),
        ("image", json!({"source": {"url": "file:///etc/shadow"}}), "spec.source.url"),
        ("image", json!({"cmdline": "quiet"}), "spec.cmdline"),
        ("image", json!({"format": "qcow2", "source": {"volume": "a", "snapshot": "b"}}), "spec.source"),
        ("image", json!({"format": "qcow2", "source": {"instance": "Bad Name"}}), "spec.source.instance"),
        ("image", json!({"format": "raw", "source": {"volume": "a"}}), "spec.format"),
        ("image", json!({"source": {"bucket": "b"}}), "spec.source.key"),
        ("image", json!({"source": {"key": "k"}}), "spec.source.key"),
        ("image", json!({"format": "oci", "source": {"bucket": "b", "key": "k"}}), "spec.format"),
        ("image", json!({"source": {"image": "a", "url": "https://example.org"}}), "spec.source"),
        ("volumesnapshot", json!({}), "spec.volume"),
        ("volumesnapshot", json!({"volume": "a", "image": "b"}), "spec.volume"),
        ("volumesnapshot", json!({"image": "b", "atRest": true}), "spec.atRest"),
        ("keypair", json!({"publicKey": "nonsense"}), "spec.publicKey"),
        ("keypair", json!({"publicKey": "ssh-ed25519 AAAA\nssh-ed25519 BBBB"}), "spec.publicKey"),
        ("instanceset", json!({"replicas": 100_001}), "spec.replicas"),
        ("instanceset", json!({}), "spec.template.spec.payload.disk.image"),
        (
            "instanceset",
            json!({"template": {"metadata": {"labels": {"a": "no spaces"}}}}),
            "spec.template.metadata.labels[a]",
        ),
    ] {
        let found = fields(kind, &json!({"metadata": {"name": "one"}, "spec": spec}));
        assert!(found.iter().any(|field| field == expected), "{kind}: expected {expected}, got {found:?}");
    }
}

#[test]
fn all_faults_are_told_at_once_and_in_words() {
    let mut document = vm_with("/spec/resources", json!({"cpu": 0, "memory": "1Mi"}));
    document["spec"]["isolation"] = json!("process");
    document["metadata"]["name"] = json!("vm");
    assert_eq!(
        read("instance", &document).validate().to_string(),
        "spec.isolation: process cannot hold a payload of disk; see `corten explain instance`"
    );
    document["spec"]["isolation"] = json!("vm");
    assert_eq!(
        read("instance", &document).validate().to_string(),
        "spec.resources.cpu: must be more than 0; or set spec.type; \
         spec.resources.memory: must be at least 32Mi for a virtual machine; or set spec.type"
    );
}

#[test]
fn what_may_not_change_is_named() {
    let old = read("instance", &vm_with("", json!(null)));
    assert!(old.validate_update(&*old).is_empty());
    for (pointer, value, expected) in [
        ("/spec/isolation", json!("microvm"), "spec.isolation"),
        ("/spec/payload", json!({"disk": {"image": "other"}}), "spec.payload"),
        ("/spec/keyPair", json!("other"), "spec.keyPair"),
        ("/spec/firmware", json!("uefi"), "spec.firmware"),
        ("/spec/machine", json!("q35"), "spec.machine"),
        ("/spec/resources", json!({"cpu": 2, "memory": "1Gi"}), "spec.resources"),
    ] {
        let errors = read("instance", &vm_with(pointer, value)).validate_update(&*old);
        assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), [expected]);
    }
    let stopped = read("instance", &vm_with("/spec/power", json!("stopped")));
    let mut larger = vm_with("/spec/power", json!("stopped"));
    larger["spec"]["resources"]["cpu"] = json!(2);
    assert!(read("instance", &larger).validate_update(&*stopped).is_empty(), "a stopped one may grow");
    let host = read("host", &json!({"metadata": {"name": "vm"}}));
    assert_eq!(host.validate_update(&*old).to_string(), "kind: cannot be changed");
}

#[test]
fn a_pool_that_hosts_share_says_where_it_is_and_no_other_does() {
    let pool = |spec: Value| fields("pool", &json!({"metadata": {"name": "p"}, "spec": spec}));
    assert_eq!(pool(json!({})), [""; 0]);
    assert_eq!(pool(json!({"path": "/mnt/pool"})), ["spec.path"]);
    for path in ["/mnt/pool", "/srv/pools/a_b-c.1"] {
        assert_eq!(pool(json!({"driver": "files", "path": path})), [""; 0], "{path}");
    }
    let long = format!("/{}", "x".repeat(200));
    for path in
        ["", "/", "mnt/pool", "/mnt/", "/mnt//pool", "/mnt/../etc", "/mnt/./pool", "/a b", "/a,b", &long]
    {
        assert_eq!(pool(json!({"driver": "files", "path": path})), ["spec.path"], "{path}");
    }
    let ceph = |ceph: Value| pool(json!({"driver": "rbd", "ceph": ceph}));
    assert_eq!(
        ceph(json!({"pool": "vms"})),
        [""; 0],
        "the user and the configuration have their usual names"
    );
    assert_eq!(ceph(json!({"pool": "a/b"})), ["spec.ceph.pool"]);
    assert_eq!(ceph(json!({})), ["spec.ceph.pool"]);
    assert_eq!(
        ceph(json!({"pool": "vms", "user": "--id", "conf": "ceph.conf"})),
        ["spec.ceph.user", "spec.ceph.conf"]
    );
    assert_eq!(pool(json!({"driver": "rbd"})), ["spec.ceph"]);
    assert_eq!(pool(json!({"driver": "rbd", "path": "/mnt/pool", "ceph": {"pool": "vms"}})), ["spec.path"]);
    assert_eq!(pool(json!({"ceph": {"pool": "vms"}})), ["spec.ceph"]);
    let lvm = |lvm: Value| pool(json!({"driver": "lvm", "lvm": lvm}));
    assert_eq!(lvm(json!({"group": "vg0", "pool": "thin-1"})), [""; 0]);
    assert_eq!(lvm(json!({"group": "vg0/thin", "pool": "-rf"})), ["spec.lvm.group", "spec.lvm.pool"]);
    assert_eq!(lvm(json!({"group": "vg0"})), ["spec.lvm.pool"]);
    assert_eq!(pool(json!({"driver": "lvm"})), ["spec.lvm"]);
    assert_eq!(pool(json!({"driver": "dir", "lvm": {"group": "vg0", "pool": "thin"}})), ["spec.lvm"]);
}

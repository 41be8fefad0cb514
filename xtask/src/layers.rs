//! The house's layers: which crate may import which. Arrows go down only.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};

use crate::tidy::Breach;

/// Every crate, lowest first. A crate imports only what stands above its own line here.
const LAYERS: [&str; 31] = [
    "sys",
    "signal",
    "nft",
    "model",
    "trace",
    "store",
    "driver",
    "guest-services",
    "identity",
    "scheduler",
    "client",
    "reconcile",
    "image",
    "backup",
    "driver-qemu",
    "driver-oci",
    "driver-vpc",
    "driver-dir",
    "driver-rbd",
    "driver-lvm",
    "driver-haproxy",
    "objects",
    "server",
    "controllers",
    "agent",
    "facade-aws",
    "facade-s3",
    "sim",
    "corten",
    "xtask",
    "bench",
];

/// Crates that only some may import: the waists.
const GUARDED: [(&str, &[&str]); 9] = [
    ("store", &["server", "sim", "corten", "bench"]),
    (
        "driver",
        &[
            "driver-qemu",
            "driver-oci",
            "driver-vpc",
            "driver-dir",
            "driver-rbd",
            "driver-lvm",
            "driver-haproxy",
            "agent",
            "sim",
            "corten",
            "bench",
        ],
    ),
    ("driver-qemu", &["corten"]),
    ("driver-oci", &["corten"]),
    ("driver-vpc", &["corten", "bench"]),
    ("driver-dir", &["corten"]),
    ("driver-rbd", &["corten"]),
    ("driver-lvm", &["corten"]),
    ("driver-haproxy", &["corten"]),
];

/// Crates without I/O, and what would bring it in.
const PURE: [&str; 4] = ["model", "trace", "identity", "scheduler"];
const IMPURE: [&str; 6] = ["tokio", "async-trait", "futures", "hyper", "nix", "rusqlite"];

pub(crate) fn check(metadata: &Metadata) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for package in metadata.workspace_packages() {
        let imports: Vec<&str> = imports(package).collect();
        breaches.extend(check_imports(&package.name, &imports));
        if PURE.contains(&package.name.as_str()) {
            breaches.extend(check_purity(&package.name, &closure(metadata, &package.id)));
        }
    }
    breaches
}

/// Names of what the shipped code imports; tests may reach further.
fn imports(package: &Package) -> impl Iterator<Item = &str> {
    let shipped = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
    shipped.map(|d| d.name.as_str())
}

fn check_imports(name: &str, imports: &[&str]) -> Vec<Breach> {
    let rank = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let Some(own) = rank(name) else {
        return vec![Breach::new(name, "has no place in the list of layers in xtask/src/layers.rs")];
    };
    let mut breaches = Vec::new();
    for import in imports {
        if rank(import).is_some_and(|theirs| theirs >= own) {
            breaches.push(Breach::new(name, format!("imports {import}, which stands higher")));
        }
        let guard = GUARDED.iter().find(|(guarded, _)| guarded == import);
        if let Some((_, users)) = guard.filter(|(_, users)| !users.contains(&name)) {
            breaches.push(Breach::new(name, format!("imports {import}; only {} may", users.join(", "))));
        }
    }
    breaches
}

fn check_purity(name: &str, closure: &BTreeSet<String>) -> Vec<Breach> {
    let impure = IMPURE.iter().filter(|i| closure.contains(**i));
    impure.map(|i| Breach::new(name, format!("is pure but depends on {i}"))).collect()
}

/// Names of everything the shipped code of a package depends on, directly or not.
fn closure(metadata: &Metadata, from: &PackageId) -> BTreeSet<String> {
    let nodes: BTreeMap<&PackageId, _> =
        metadata.resolve.iter().flat_map(|r| &r.nodes).map(|node| (&node.id, node)).collect();
    let mut seen = BTreeSet::new();
    let mut queue = vec![from];
    while let Some(id) = queue.pop() {
        for dep in nodes.get(id).iter().flat_map(|node| &node.deps) {
            let is_shipped = dep.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
            if is_shipped && seen.insert(&dep.pkg) {
                queue.push(&dep.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, imports: &[&str], expected: &[&str]) {
        let found: Vec<String> = check_imports(name, imports).into_iter().map(|b| b.to_string()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn arrows_go_down() {
        check("agent", &["model", "driver", "serde"], &[]);
        check("model", &["agent"], &["model: imports agent, which stands higher"]);
        check("model", &["model"], &["model: imports model, which stands higher"]);
    }

    #[test]
    fn waists_are_guarded() {
        check("server", &["store"], &[]);
        check(
            "controllers",
            &["store"],
            &["controllers: imports store; only server, sim, corten, bench may"],
        );
        check("agent", &["driver-qemu"], &["agent: imports driver-qemu; only corten may"]);
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        check("extra", &[], &["extra: has no place in the list of layers in xtask/src/layers.rs"]);
    }

    #[test]
    fn pure_crates_depend_on_no_io() {
        let closure = BTreeSet::from(["serde".to_owned(), "tokio".to_owned()]);
        assert_eq!(check_purity("model", &closure), [Breach::new("model", "is pure but depends on tokio")]);
    }
}

//! Claims against a model: whatever happens at once, no address is given twice, and none is kept by nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::DeleteOptions;
use model::network::{Port, PortSpec, SecurityGroupSpec, Subnet, SubnetSpec};
use model::{AnyObject, Hold, Reason};
use proptest::prelude::*;
use serde_json::{Value, json};
use store::{ListOptions, Store};
use tokio::task::JoinSet;

use crate::cloud::Cloud;
use crate::networks::{api, cloud, make, object};

/// What somebody does; names are few, so that they meet.
#[derive(Debug, Clone)]
enum Deed {
    /// A port with an address of its own choice, or any.
    Port {
        name: u8,
        address: Option<u8>,
        group: Option<u8>,
    },
    Change {
        name: u8,
        address: u8,
    },
    DeletePort {
        name: u8,
    },
    Group {
        name: u8,
    },
    DeleteGroup {
        name: u8,
    },
    Subnet {
        third: u8,
    },
    DeleteSubnet {
        third: u8,
    },
    DeleteVpc,
}

fn deed() -> impl Strategy<Value = Deed> {
    let name = 0_u8..6;
    prop_oneof![
        5 => (name.clone(), proptest::option::of(4_u8..9), proptest::option::of(0_u8..2))
            .prop_map(|(name, address, group)| Deed::Port { name, address, group }),
        2 => (name.clone(), 4_u8..15).prop_map(|(name, address)| Deed::Change { name, address }),
        4 => name.prop_map(|name| Deed::DeletePort { name }),
        1 => (0_u8..2).prop_map(|name| Deed::Group { name }),
        1 => (0_u8..2).prop_map(|name| Deed::DeleteGroup { name }),
        2 => (1_u8..4).prop_map(|third| Deed::Subnet { third }),
        2 => (1_u8..4).prop_map(|third| Deed::DeleteSubnet { third }),
        1 => Just(Deed::DeleteVpc),
    ]
}

async fn act(cloud: Arc<Cloud>, deed: Deed) {
    let gone = DeleteOptions::default();
    let result = match deed {
        Deed::Port { name, address, group } => {
            let mut spec = json!({"subnet": "web"});
            if let Some(address) = address {
                spec["addresses"] = json!([format!("10.0.1.{address}")]);
            }
            if let Some(group) = group {
                spec["securityGroups"] = json!([format!("g{group}")]);
            }
            make::<PortSpec>(&cloud, &format!("p{name}"), spec).await.map(drop)
        }
        Deed::Change { name, address } => {
            let patch = json!({"spec": {"addresses": [format!("10.0.1.{address}")]}});
            api::<PortSpec>(&cloud).merge(&format!("p{name}"), &patch).await.map(drop)
        }
        Deed::DeletePort { name } => {
            api::<PortSpec>(&cloud).delete(&format!("p{name}"), &gone).await.map(drop)
        }
        Deed::Group { name } => {
            let spec = json!({"vpc": "main", "rules": [{"peer": {"group": format!("g{}", 1 - name)}}]});
            make::<SecurityGroupSpec>(&cloud, &format!("g{name}"), spec).await.map(drop)
        }
        Deed::DeleteGroup { name } => {
            api::<SecurityGroupSpec>(&cloud).delete(&format!("g{name}"), &gone).await.map(drop)
        }
        Deed::Subnet { third } => {
            // Different names for networks that overlap.
            let spec = json!({"vpc": "main", "cidr": format!("10.0.{}.0/23", third / 2 * 2 + 2)});
            make::<SubnetSpec>(&cloud, &format!("s{third}"), spec).await.map(drop)
        }
        Deed::DeleteSubnet { third } => {
            let name = if third == 1 { "web".to_owned() } else { format!("s{third}") };
            api::<SubnetSpec>(&cloud).delete(&name, &gone).await.map(drop)
        }
        Deed::DeleteVpc => api::<model::network::VpcSpec>(&cloud).delete("main", &gone).await.map(drop),
    };
    if let Err(e) = result {
        let expected = [Reason::Invalid, Reason::Conflict, Reason::NotFound, Reason::AlreadyExists];
        assert!(expected.contains(&e.reason), "{e}");
    }
}

/// Every object in the store, by its key.
async fn objects(cloud: &Cloud) -> BTreeMap<String, Box<dyn AnyObject>> {
    let mut objects = BTreeMap::new();
    for kind in model::kinds() {
        let page = cloud.store.list(&kind.info.prefix(), ListOptions::default()).await.expect("list");
        for entry in page.entries {
            let object = (kind.decode)(&entry.value, false).expect("an object");
            objects.insert(entry.key.to_string(), object);
        }
    }
    objects
}

/// What the store holds under a prefix: keys without it, and values.
async fn held(cloud: &Cloud, prefix: &str) -> BTreeMap<String, String> {
    let page = cloud.store.list(prefix, ListOptions::default()).await.expect("list");
    let pair = |entry: &store::Entry| {
        let value = String::from_utf8(entry.value.to_vec()).expect("text");
        (entry.key[prefix.len()..].to_owned(), value)
    };
    page.entries.iter().map(pair).collect()
}

/// Claims and uses are exactly those that follow from the objects, and what is named is there.
async fn check(cloud: &Cloud) {
    let objects = objects(cloud).await;
    let (mut claims, mut uses) = (BTreeMap::new(), BTreeSet::new());
    for (key, object) in &objects {
        for claim in object.claims() {
            let other = claims.insert(claim.key.clone(), key.clone());
            assert_eq!(other, None, "{} is held twice, by {key} too", claim.key);
        }
        for reference in object.references().iter().filter(|r| r.hold == Hold::Kept) {
            assert!(objects.contains_key(&reference.key()), "{key} names {}, which is gone", reference.key());
            uses.insert(format!("{}{key}", reference.key()));
        }
    }
    assert_eq!(held(cloud, "/claims/").await, claims);
    assert_eq!(held(cloud, "/uses").await.into_keys().collect::<BTreeSet<_>>(), uses);
    let subnets: Vec<&Subnet> = objects.values().filter_map(|o| o.as_any().downcast_ref()).collect();
    for (i, one) in subnets.iter().enumerate() {
        for two in &subnets[..i] {
            let overlap = one.spec.cidrs().any(|a| two.spec.cidrs().any(|b| a.overlaps(b)));
            assert!(!overlap, "{} overlaps {}", one.metadata.name, two.metadata.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_held_twice_or_by_nobody(rounds in prop::collection::vec(prop::collection::vec(deed(), 1..24), 1..8)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("a runtime");
        runtime.block_on(async {
            let mut cloud = Arc::new(cloud().await);
            for round in rounds {
                let mut at_once = JoinSet::new();
                for deed in round {
                    at_once.spawn(act(Arc::clone(&cloud), deed));
                }
                at_once.join_all().await;
                check(&cloud).await;
                let after = Arc::into_inner(cloud).expect("nobody else has it").restarted().await;
                cloud = Arc::new(after);
                check(&cloud).await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_at_once_exactly_as_many_ports_are_made_as_there_is_room_for() {
    let cloud = Arc::new(cloud().await);
    let mut racers = JoinSet::new();
    for i in 0..50 {
        let cloud = Arc::clone(&cloud);
        racers
            .spawn(async move { make::<PortSpec>(&cloud, &format!("r{i}"), json!({"subnet": "web"})).await });
    }
    let results = racers.join_all().await;
    let made: Vec<&Port> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    let addresses: BTreeSet<_> = made.iter().flat_map(|port| &port.spec.addresses).collect();
    assert_eq!((made.len(), addresses.len()), (11, 11));
    assert!(results.iter().filter_map(|r| r.as_ref().err()).all(|e| e.reason == Reason::Invalid));
    check(&cloud).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_twenty_subnets_in_one_place_exactly_one_is_made() {
    let cloud = Arc::new(cloud().await);
    let mut racers = JoinSet::new();
    for i in 0..20 {
        let cloud = Arc::clone(&cloud);
        let spec: Value = json!({"vpc": "main", "cidr": "10.0.8.0/24"});
        racers.spawn(async move { api::<SubnetSpec>(&cloud).create(&object(&format!("s{i}"), spec)).await });
    }
    let made = racers.join_all().await.into_iter().flatten().count();
    assert_eq!(made, 1);
    check(&cloud).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subnet_goes_or_a_port_comes_but_not_both() {
    let cloud = Arc::new(cloud().await);
    let (mut went, mut came) = (0, 0);
    for round in 0..200 {
        // One came and went before, so that the subnet has been in use once.
        make::<PortSpec>(&cloud, "before", json!({"subnet": "web"})).await.expect("a port");
        api::<PortSpec>(&cloud).delete("before", &DeleteOptions::default()).await.expect("delete");
        let (one, two) = (Arc::clone(&cloud), Arc::clone(&cloud));
        // Now one has a start, now the other: which of them is the quicker one depends on the machine.
        let start = |rounds: u32| async move {
            for _ in 0..rounds {
                tokio::task::yield_now().await;
            }
        };
        let deletion = tokio::spawn(async move {
            start(if round % 2 == 0 { 0 } else { round }).await;
            api::<SubnetSpec>(&one).delete("web", &DeleteOptions::default()).await
        });
        let creation = tokio::spawn(async move {
            start(if round % 2 == 0 { round } else { 0 }).await;
            make::<PortSpec>(&two, "p", json!({"subnet": "web"})).await
        });
        let (deleted, created) = (deletion.await.expect("no panic"), creation.await.expect("no panic"));
        check(&cloud).await;
        assert!(deleted.is_ok() != created.is_ok(), "{deleted:?} {created:?}");
        if created.is_ok() {
            came += 1;
            api::<PortSpec>(&cloud).delete("p", &DeleteOptions::default()).await.expect("delete");
        } else {
            went += 1;
            let spec = json!({"vpc": "main", "cidr": "10.0.1.0/28"});
            make::<SubnetSpec>(&cloud, "web", spec).await.expect("a subnet");
        }
    }
    assert!(went > 0 && came > 0, "only one of the two ever won: {went} {came}");
}

//! Claims: exact, idempotent, and never moved by accident.

use model::compute::Affinity;
use scheduler::{BindError, Index};

use crate::world::{gib, host, labels, request};

fn one_host() -> Index {
    let mut index = Index::new();
    index.upsert_host(host("host-1", gib(4, 8)));
    index
}

#[test]
fn binding_twice_claims_once() {
    let mut index = one_host();
    let vm = request("vm", gib(1, 2));
    index.bind(&vm, "host-1").unwrap();
    index.bind(&vm, "host-1").unwrap();
    assert_eq!(index.free("host-1"), Some(gib(3, 6)));
    assert!(index.unbind("p/vm"));
    assert!(!index.unbind("p/vm"));
    assert_eq!(index.free("host-1"), Some(gib(4, 8)));
}

#[test]
fn a_bound_key_goes_nowhere_else() {
    let mut index = one_host();
    index.upsert_host(host("host-2", gib(4, 8)));
    let vm = request("vm", gib(1, 2));
    index.bind(&vm, "host-1").unwrap();
    let error = index.bind(&vm, "host-2").unwrap_err();
    assert_eq!(error.to_string(), "p/vm is bound to host-1: unbind it first");
    index.unbind("p/vm");
    index.bind(&vm, "host-2").unwrap();
    assert_eq!(index.host_of("p/vm").map(|name| &**name), Some("host-2"));
}

#[test]
fn a_claim_needs_room_and_a_known_host() {
    let mut index = one_host();
    let error = index.bind(&request("vm", gib(1, 9)), "host-1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "host-1 has 4 cpu, 8Gi memory free, p/vm asks for 1 cpu, 9Gi memory: place it again"
    );
    assert_eq!(
        index.bind(&request("vm", gib(1, 1)), "host-9"),
        Err(BindError::UnknownHost { host: "host-9".into() })
    );
    assert_eq!(index.bound(), 0);
}

#[test]
fn a_resize_counts_what_is_already_held() {
    let mut index = one_host();
    index.bind(&request("vm", gib(4, 5)), "host-1").unwrap();
    index.bind(&request("vm", gib(4, 8)), "host-1").unwrap();
    assert_eq!(index.free("host-1"), Some(gib(0, 0)));
    assert!(matches!(index.bind(&request("vm", gib(4, 9)), "host-1"), Err(BindError::NoRoom { .. })));
    assert_eq!(index.free("host-1"), Some(gib(0, 0)));
}

#[test]
fn facts_are_believed_even_when_they_overdraw() {
    let mut index = Index::new();
    index.adopt(&request("early", gib(1, 3)), "host-1");
    index.adopt(&request("big", gib(1, 30)), "host-1");
    index.upsert_host(host("host-1", gib(4, 8)));
    assert_eq!(index.free("host-1"), Some(gib(2, 0)));
    // An overdrawn instance may shrink, though there is no room even then.
    index.bind(&request("big", gib(1, 20)), "host-1").unwrap();
    index.unbind("p/big");
    assert_eq!(index.free("host-1"), Some(gib(3, 5)));
}

#[test]
fn a_host_that_returns_still_holds_what_was_bound_to_it() {
    let mut index = one_host();
    index.bind(&request("vm", gib(1, 6)), "host-1").unwrap();
    index.remove_host("host-1");
    assert_eq!((index.hosts(), index.free("host-1")), (0, None));
    assert!(index.place(&request("other", gib(1, 1))).is_err());
    index.upsert_host(host("host-1", gib(4, 8)));
    assert_eq!(index.free("host-1"), Some(gib(3, 2)));
}

#[test]
fn equal_hosts_share_the_work_and_the_same_request_gets_the_same_host() {
    let mut index = Index::new();
    for n in 0..8 {
        index.upsert_host(host(&format!("host-{n}"), gib(64, 512)));
    }
    let mut chosen = std::collections::BTreeSet::new();
    for n in 0..64 {
        let vm = request(&format!("vm-{n}"), gib(0, 0));
        let placement = index.place(&vm).unwrap();
        assert_eq!(index.place(&vm).unwrap().host, placement.host);
        chosen.insert(placement.host);
    }
    assert!(chosen.len() >= 6, "only {chosen:?} were chosen");
}

#[test]
fn the_first_of_a_group_may_go_anywhere_and_the_rest_follow() {
    let mut index = one_host();
    index.upsert_host(host("host-2", gib(4, 8)));
    let together = |name: &str| {
        let mut vm = request(name, gib(1, 1));
        vm.labels = labels(&[("app", "web")]);
        vm.placement.affinity = vec![Affinity { labels: vm.labels.clone(), ..Affinity::default() }];
        vm
    };
    let first = index.place(&together("a")).unwrap().host;
    index.bind(&together("a"), &first).unwrap();
    for name in ["b", "c", "d"] {
        let host = index.place(&together(name)).unwrap().host;
        assert_eq!(host, first);
        index.bind(&together(name), &host).unwrap();
    }
    assert!(index.place(&together("e")).is_err(), "the host is full, and no other is near");
}

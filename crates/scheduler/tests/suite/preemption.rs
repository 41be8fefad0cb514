//! Preemption: room for the important, at the least cost.

use proptest::collection::vec;
use proptest::prelude::*;
use scheduler::{Index, Request};

use crate::reference::World;
use crate::world::{any_host, any_request, gib, host, request};

fn with_priority(name: &str, cores: u64, memory_gib: u64, priority: i32) -> Request {
    let mut vm = request(name, gib(cores, memory_gib));
    vm.placement.priority = priority;
    vm
}

/// Hosts of 8 GiB with these instances (name, GiB, priority); then what an instance of 4 GiB and priority 10
/// would push away.
fn check(hosts: &[&[(&str, u64, i32)]], expected: Option<(&str, &[&str])>) {
    let mut index = Index::new();
    for (n, instances) in hosts.iter().enumerate() {
        let name = format!("host-{n}");
        index.upsert_host(host(&name, gib(8, 8)));
        for (vm, memory_gib, priority) in *instances {
            index.bind(&with_priority(vm, 1, *memory_gib, *priority), &name).unwrap();
        }
    }
    let plan = index.preempt(&with_priority("important", 1, 4, 10));
    let plan = plan.as_ref().map(|p| (&*p.host, p.victims.iter().map(|v| &**v).collect::<Vec<_>>()));
    assert_eq!(plan, expected.map(|(host, victims)| (host, victims.to_vec())));
}

#[test]
fn the_least_important_go_first() {
    check(&[&[("a", 4, 5), ("b", 4, 3)], &[("c", 4, 4), ("d", 4, 9)]], Some(("host-0", &["p/b"])));
}

#[test]
fn as_few_as_possible_go() {
    check(
        &[&[("a", 2, 1), ("b", 2, 1), ("c", 4, 9)], &[("d", 4, 1), ("e", 4, 9)]],
        Some(("host-1", &["p/d"])),
    );
}

#[test]
fn those_that_turn_out_not_to_be_needed_stay() {
    check(&[&[("small", 1, 1), ("large", 6, 2)]], Some(("host-0", &["p/large"])));
}

#[test]
fn equals_and_superiors_never_go() {
    check(&[&[("equal", 4, 10), ("superior", 4, 11)]], None);
}

#[test]
fn nobody_goes_when_there_is_room() {
    check(&[&[("a", 8, 1)], &[("b", 1, 1)]], None);
}

#[test]
fn nobody_goes_when_it_would_not_help() {
    check(&[&[("a", 2, 1), ("b", 6, 20)]], None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Once the victims are gone the request fits on the host; no victim is spared needlessly, none is equal.
    #[test]
    fn a_preemption_works_and_is_minimal(
        hosts in vec(any_host(), 1..8),
        requests in vec(any_request(), 0..60),
        important in any_request(),
    ) {
        let (mut index, mut world) = (Index::new(), World::default());
        for view in hosts {
            index.upsert_host(view.clone());
            world.hosts.insert(view.name.clone(), view);
        }
        for request in requests.into_iter().filter(|r| r.key() != important.key()) {
            let is_new = !world.bound.contains_key(&request.key());
            if let (true, Ok(placement)) = (is_new, index.place(&request)) {
                index.bind(&request, &placement.host).unwrap();
                world.bound.insert(request.key(), (request, placement.host.to_string()));
            }
        }
        let fits_now = world.judge(&important).values().any(Result::is_ok);
        let Some(plan) = index.preempt(&important) else { return Ok(()) };
        prop_assert!(!fits_now);
        prop_assert!(!plan.victims.is_empty());
        let mut after = world.clone();
        for victim in &plan.victims {
            let (victim, on) = after.bound.remove(&**victim).unwrap();
            prop_assert_eq!(on.as_str(), &*plan.host);
            prop_assert!(victim.placement.priority < important.placement.priority);
        }
        prop_assert!(after.judge(&important)[&*plan.host].is_ok(), "{:?}", after.judge(&important));
        for victim in &plan.victims {
            let mut spared = after.clone();
            spared.bound.insert(victim.to_string(), world.bound[&**victim].clone());
            prop_assert!(spared.judge(&important)[&*plan.host].is_err(), "{} need not go", victim);
        }
    }
}

//! What happens when something goes wrong.

use std::time::{Duration, Instant};

use driver::{BalancerDriver, DriverError};
use model::network::{ListenerProtocol, ListenerRule, TargetProtocol};

use crate::support::{World, listener, plan, pool};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_is_out_and_comes_back() {
    let world = World::new().await;
    let (one, two) = (world.server(9001, "one"), world.server(9002, "two"));
    let listeners = vec![listener(80, ListenerProtocol::Http, "app")];
    let mut plan = plan(&world, listeners, vec![pool("app", TargetProtocol::Http, &[9001, 9002])]);
    world.becomes(&plan, |health| health.iter().all(|server| server.healthy)).await;
    world.stop(one);
    for _ in 0..4 {
        assert!(world.get(80, "a", "/").unwrap().contains("two"), "clients see nothing of it");
    }
    world.becomes(&plan, |health| !health[0].healthy && health[1].healthy).await;
    let health = world.driver.ensure(&plan).await.unwrap();
    assert!(health[0].reason.starts_with("cannot be connected to"), "{health:?}");
    // A reload forgets none of it.
    plan.listeners.push(listener(81, ListenerProtocol::Tcp, "app"));
    let health = world.driver.ensure(&plan).await.unwrap();
    let down = health.iter().find(|server| server.address.port() == 9001).unwrap();
    assert!(!down.healthy, "{health:?}");
    let one = world.server(9001, "one");
    world.becomes(&plan, |health| health.iter().all(|server| server.healthy)).await;
    world.stop(one);
    world.stop(two);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_haproxy_refuses_changes_nothing() {
    let world = World::new().await;
    let server = world.server(9001, "one");
    let listeners = vec![listener(80, ListenerProtocol::Http, "app")];
    let good = plan(&world, listeners, vec![pool("app", TargetProtocol::Http, &[9001])]);
    world.becomes(&good, |health| health.iter().all(|server| server.healthy)).await;
    let mut bad = good.clone();
    bad.listeners[0].rules = vec![ListenerRule {
        host: "a.test".into(),
        target_group: "nowhere".into(),
        ..ListenerRule::default()
    }];
    match world.driver.ensure(&bad).await {
        Err(DriverError::Invalid(words)) => assert!(words.contains("nowhere"), "{words}"),
        other => panic!("{other:?}"),
    }
    assert!(world.get(80, "a", "/").unwrap().contains("one"));
    let health = world.driver.ensure(&good).await.unwrap();
    assert!(health[0].healthy, "{health:?}");
    world.stop(server);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_taken_over_and_started_again_when_killed() {
    let world = World::new().await;
    let server = world.server(9001, "one");
    let listeners = vec![listener(80, ListenerProtocol::Http, "app")];
    let plan = plan(&world, listeners, vec![pool("app", TargetProtocol::Http, &[9001])]);
    world.becomes(&plan, |health| health.iter().all(|server| server.healthy)).await;
    let group = world.cgroup();
    let before = group.processes().unwrap();
    world.again().ensure(&plan).await.unwrap();
    assert_eq!(group.processes().unwrap(), before, "another agent takes it over as it is");
    for pid in &before {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(
            status.contains("CapEff:\t0000000000000000") && status.contains("NoNewPrivs:\t1"),
            "{status}"
        );
    }
    for pid in before {
        if let Some(process) = sys::pidfd::PidFd::open(pid).unwrap() {
            process.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
    let give_up = Instant::now() + Duration::from_secs(5);
    while !world.get(80, "a", "/").is_ok_and(|answer| answer.contains("one")) {
        assert!(Instant::now() < give_up, "it does not come back");
        // It may still be dying, and is found dead the next time.
        let _ = world.driver.ensure(&plan).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.stop(server);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_without_listeners_is_one() {
    let world = World::new().await;
    let plan = plan(&world, Vec::new(), vec![pool("app", TargetProtocol::Udp, &[9001])]);
    world.becomes(&plan, |health| health.len() == 1 && !health[0].healthy).await;
    world.end().await;
}

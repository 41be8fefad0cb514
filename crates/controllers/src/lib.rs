//! Controllers: one folder per kind, each a small function from a key to "as it should be".
//!
//! They use the same client as everyone else, have no state that cannot be lost, and may be killed at any
//! line. None calls another: they meet in the objects.

mod buckets;
mod caches;
mod context;
mod event;
mod garbage;
mod gateway;
mod host;
mod instance_set;
mod load_balancer;
mod peering;
mod place;
mod project;
mod scheduler;
mod volume;
mod vpc_endpoint;

pub mod backup;
pub mod flow_log;
pub mod image;

pub use buckets::{Buckets, Object};
pub use context::Context;

use caches::Caches;

use tokio::task::JoinHandle;

/// The running controllers; dropping ends them.
#[derive(Debug)]
pub struct Controllers {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Controllers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Controllers {
    /// Starts all controllers.
    pub fn start(context: &Context) -> Self {
        let caches = Caches::start(&context.client);
        let tasks = vec![
            tokio::spawn(scheduler::run(context.clone(), caches.clone())),
            tokio::spawn(host::run(context.clone(), caches.clone())),
            tokio::spawn(instance_set::run(context.clone(), caches.clone())),
            tokio::spawn(load_balancer::run(context.clone(), caches.clone())),
            tokio::spawn(gateway::run(context.clone(), caches.clone())),
            tokio::spawn(volume::run(context.clone(), caches)),
            tokio::spawn(garbage::run(context.clone())),
            tokio::spawn(project::run(context.clone())),
            tokio::spawn(backup::run_plans(context.clone())),
            tokio::spawn(peering::run(context.clone())),
            tokio::spawn(vpc_endpoint::run(context.clone())),
            tokio::spawn(event::run(context.clone())),
        ];
        Self { tasks }
    }
}

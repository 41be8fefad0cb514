//! The control plane as a process: server and controllers that live and die together, over a store that stays.

use std::sync::Arc;
use std::time::Duration;

use client::Client;
use controllers::{Context, Controllers};
use identity::Principal;
use model::ApiError;
use parking_lot::Mutex;
use server::audit::Audit;
use server::{Environment, Server};
use signal::Signal;
use store::Store;

use crate::clock::Clock;
use crate::store::SimStore;

/// Between two attempts to start; a service manager waits about so long.
const START_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct ControlPlane {
    store: Arc<SimStore>,
    clock: Arc<Clock>,
    life: Mutex<Option<Life>>,
}

/// One run of the process.
struct Life {
    server: Server,
    dead: Arc<Signal<bool>>,
    _controllers: Controllers,
}

/// A server that may die at any moment.
pub(crate) struct Mortal {
    pub(crate) server: Server,
    /// On when it has died.
    pub(crate) dead: Arc<Signal<bool>>,
}

impl ControlPlane {
    pub(crate) fn new(store: Arc<SimStore>, clock: Arc<Clock>) -> Arc<Self> {
        Arc::new(Self { store, clock, life: Mutex::new(None) })
    }

    /// Starts the process, again and again until it comes up.
    pub(crate) async fn start(&self) {
        while let Err(_refused) = self.try_start().await {
            tokio::time::sleep(START_AGAIN).await;
        }
    }

    async fn try_start(&self) -> Result<(), ApiError> {
        let store: Arc<dyn Store> = self.store.clone();
        let environment: Arc<dyn Environment> = self.clock.clone();
        let server = Server::start(store, environment, Audit::off()).await?;
        server::bootstrap(&server.client(Principal::component("setup"))).await?;
        let context = Context {
            client: server.client(Principal::component("controller")),
            now: self.clock.reader(),
            incarnation: self.clock.uid().to_string(),
            exclusive: true,
        };
        let life = Life { server, dead: Arc::default(), _controllers: Controllers::start(&context) };
        *self.life.lock() = Some(life);
        Ok(())
    }

    /// Ends everything the process does, wherever it is.
    pub(crate) fn kill(&self) {
        if let Some(life) = self.life.lock().take() {
            life.dead.set(true);
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn server(&self) -> Option<Mortal> {
        let life = self.life.lock();
        life.as_ref().map(|life| Mortal { server: life.server.clone(), dead: Arc::clone(&life.dead) })
    }

    /// A client without a network in between, for those who judge.
    pub(crate) fn judge(&self) -> Option<Client> {
        self.server().map(|mortal| mortal.server.client(Principal::component("judge")))
    }
}

//! The network between a client and the control plane: it delays, loses, repeats, loses replies after success,
//! breaks watches, and can be cut.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Reply, Request, Transport, WatchEvent, WatchStream};
use futures::{StreamExt, stream};
use identity::Principal;
use model::{ApiError, Reason};
use tokio::sync::watch;

use crate::control::{ControlPlane, Mortal};
use crate::dice::Dice;
use crate::weather::Weather;

/// How long a client waits for a connection before it gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// One client's way to the control plane. Clones are the same way.
#[derive(Clone)]
pub(crate) struct Link {
    cut: watch::Sender<bool>,
    dice: Dice,
    weather: Arc<Weather>,
}

impl Link {
    pub(crate) fn new(dice: Dice, weather: Arc<Weather>) -> Self {
        Self { cut: watch::Sender::new(false), dice, weather }
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    pub(crate) fn client(&self, control: Arc<ControlPlane>, principal: Principal) -> Client {
        Client::new(Arc::new(Wire { link: self.clone(), control, principal }))
    }

    fn is_cut(&self) -> bool {
        *self.cut.borrow()
    }

    /// Waits until the link is whole, as long as clients do.
    async fn whole(&self) -> Result<(), ApiError> {
        let mut cut = self.cut.subscribe();
        match tokio::time::timeout(PATIENCE, cut.wait_for(|cut| !cut)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(unreachable("the connection timed out")),
        }
    }

    fn mishap(&self, per_mille: u64, what: &'static str) -> bool {
        let happens = self.weather.is_rough() && self.dice.per_mille(per_mille);
        if happens {
            self.weather.count(what);
        }
        happens
    }

    fn delay(&self) -> Duration {
        if self.mishap(60, "delayed messages") { self.dice.millis(1..2500) } else { Duration::ZERO }
    }
}

struct Wire {
    link: Link,
    control: Arc<ControlPlane>,
    principal: Principal,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("principal", &self.principal).finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for Wire {
    async fn call(&self, request: Request) -> Result<Reply, ApiError> {
        self.link.whole().await?;
        if self.link.mishap(10, "lost requests") {
            return Err(unreachable("the request was lost"));
        }
        let mortal = self.control.server().ok_or_else(|| unreachable("the connection was refused"))?;
        // On its way it no longer depends on its sender.
        let delivery = deliver(mortal, self.principal.clone(), request.clone(), self.link.delay());
        let delivered = tokio::spawn(delivery).await;
        let reply = delivered.unwrap_or_else(|_| Err(unreachable("the connection was closed")));
        if self.link.mishap(5, "repeated requests")
            && let Some(mortal) = self.control.server()
        {
            let later = self.link.dice.millis(1..5000);
            tokio::spawn(deliver(mortal, self.principal.clone(), request, later));
        }
        tokio::time::sleep(self.link.delay()).await;
        if self.link.is_cut() || self.link.mishap(10, "lost replies") {
            return Err(unreachable("the reply was lost"));
        }
        reply
    }

    async fn watch(&self, request: Request) -> Result<WatchStream, ApiError> {
        self.link.whole().await?;
        let mortal = self.control.server().ok_or_else(|| unreachable("the connection was refused"))?;
        let events = mortal.server.watch(&self.principal, request).await?;
        let mut flow = Flow {
            events,
            dead: mortal.dead,
            cut: self.link.cut.subscribe(),
            link: self.link.clone(),
            over: false,
        };
        flow.cut.mark_unchanged();
        Ok(Box::pin(stream::unfold(flow, |mut flow| async move {
            let event = flow.next().await?;
            Some((event, flow))
        })))
    }
}

/// Brings a request to the server and waits for its answer, or for its death.
async fn deliver(
    mut mortal: Mortal,
    principal: Principal,
    request: Request,
    delay: Duration,
) -> Result<Reply, ApiError> {
    tokio::time::sleep(delay).await;
    tokio::select! {
        biased;
        () = died(&mut mortal.dead) => Err(unreachable("the connection was reset")),
        reply = mortal.server.call(&principal, request) => reply,
    }
}

/// The events of a watch on their way.
struct Flow {
    events: WatchStream,
    dead: watch::Receiver<bool>,
    cut: watch::Receiver<bool>,
    link: Link,
    over: bool,
}

enum Arrival {
    Of(Option<Result<WatchEvent, ApiError>>),
    Nothing,
}

impl Flow {
    async fn next(&mut self) -> Option<Result<WatchEvent, ApiError>> {
        while !self.over {
            // Nothing arrives through a cut; when it is mended the connection may have outlived it.
            if self.link.is_cut() {
                let _ = self.cut.wait_for(|cut| !cut).await;
                if self.link.dice.per_mille(500) {
                    return self.broken();
                }
            }
            let arrived = tokio::select! {
                biased;
                () = died(&mut self.dead) => Arrival::Nothing,
                _ = self.cut.changed() => continue,
                event = self.events.next() => Arrival::Of(event),
            };
            return match arrived {
                Arrival::Of(event) if !self.link.mishap(3, "broken watches") => event,
                _ => self.broken(),
            };
        }
        None
    }

    fn broken(&mut self) -> Option<Result<WatchEvent, ApiError>> {
        self.over = true;
        Some(Err(unreachable("the watch was cut off")))
    }
}

/// Waits for the death of the server.
async fn died(dead: &mut watch::Receiver<bool>) {
    // An error means that the process is gone as well.
    let _ = dead.wait_for(|dead| *dead).await;
}

fn unreachable(why: &str) -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, format!("the control plane cannot be reached: {why}"))
}

//! The network between a client and the control plane: it delays, loses, repeats, loses replies after success,
//! breaks watches, and can be cut.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Reply, Request, Transport, WatchEvent, WatchStream};
use futures::{StreamExt, stream};
use identity::Principal;
use model::{ApiError, Reason};
use signal::Signal;

use crate::control::{ControlPlane, Mortal};
use crate::dice::Dice;
use crate::weather::Weather;

/// How long a client waits for a connection before it gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// One client's way to the control plane. Clones are the same way.
#[derive(Clone)]
pub(crate) struct Link {
    cut: Arc<Signal<bool>>,
    dice: Dice,
    weather: Arc<Weather>,
}

impl Link {
    pub(crate) fn new(dice: Dice, weather: Arc<Weather>) -> Self {
        Self { cut: Arc::default(), dice, weather }
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        self.cut.set(cut);
    }

    pub(crate) fn client(&self, control: Arc<ControlPlane>, principal: Principal) -> Client {
        Client::new(Arc::new(Wire { link: self.clone(), control, principal }))
    }

    fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Waits until the link is whole, as long as clients do.
    async fn whole(&self) -> Result<(), ApiError> {
        let whole = tokio::time::timeout(PATIENCE, self.cut.until(|cut| !cut)).await;
        whole.map_err(|_| unreachable("the connection timed out"))
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
        self.control.clock().note_call(|| {
            let Request { verb, kind, name, subresource, .. } = &request;
            format!("{} {} {}/{name} {subresource}", self.principal.user, verb.as_str(), kind.info.plural)
        });
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
        let flow = Flow { events, dead: mortal.dead, link: self.link.clone(), over: false };
        Ok(Box::pin(stream::unfold(flow, |mut flow| async move {
            let event = flow.next().await?;
            Some((event, flow))
        })))
    }
}

/// Brings a request to the server and waits for its answer, or for its death.
async fn deliver(
    mortal: Mortal,
    principal: Principal,
    request: Request,
    delay: Duration,
) -> Result<Reply, ApiError> {
    tokio::time::sleep(delay).await;
    tokio::select! {
        biased;
        () = mortal.dead.until(|dead| *dead) => Err(unreachable("the connection was reset")),
        reply = mortal.server.call(&principal, request) => reply,
    }
}

/// The events of a watch on their way.
struct Flow {
    events: WatchStream,
    dead: Arc<Signal<bool>>,
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
                self.link.cut.until(|cut| !cut).await;
                if self.link.dice.per_mille(500) {
                    return Some(self.broken());
                }
            }
            let arrived = tokio::select! {
                biased;
                () = self.dead.until(|dead| *dead) => Arrival::Nothing,
                () = self.link.cut.until(|cut| *cut) => continue,
                event = self.events.next() => Arrival::Of(event),
            };
            return match arrived {
                Arrival::Of(event) if !self.link.mishap(3, "broken watches") => event,
                _ => Some(self.broken()),
            };
        }
        None
    }

    fn broken(&mut self) -> Result<WatchEvent, ApiError> {
        self.over = true;
        Err(unreachable("the watch was cut off"))
    }
}

fn unreachable(why: &str) -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, format!("the control plane cannot be reached: {why}"))
}

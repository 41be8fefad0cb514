//! The typed client: what everyone but the server itself uses to read and change objects.
//!
//! A [`Request`] says what is wanted; a [`Transport`] carries it, in the same process (`server`) or over HTTPS
//! ([`https`]). [`Api`] puts types on top. Knows no kind in particular.

mod api;
mod recorder;
mod request;
mod transport;

pub mod disks;
pub mod frames;
pub mod https;
pub mod networks;
pub mod pin;
pub mod samples;

pub use api::{Api, Client, Items, TypedEvent, TypedWatch};
pub use recorder::{Recorder, Severity};
pub use request::{
    DeleteOptions, Fence, ListParams, PatchKind, Propagation, Request, Verb, WriteOptions, percent_decode,
    percent_encode,
};
pub use transport::{
    ChangeKind, Objects, Reply, SharedEvent, SharedStream, Transport, WatchEvent, WatchStream,
};

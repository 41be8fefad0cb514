//! OCI images: read from layouts, `docker save` tars and registries; kept as one archive; unpacked to layers.
//!
//! ```text
//! layout folder or tar ─┐
//! docker save tar ──────┼─ import, pull ─▶ archive (an OCI layout tar) ─ unpack ─▶ DIR/sha256-DIFFID/ ...
//! registry ─────────────┘
//! ```
//! Every byte is checked against the digest that names it before anyone uses it, on every path. What an image
//! says is a stranger's word: sizes, counts and names have limits ([`Limits`]), and an entry of a layer that
//! points outside of the layer is refused, not corrected. Owns no cache and no container.

mod archive;
mod config;
mod document;
mod entry;
mod error;
mod import;
mod layer;
mod limits;
mod registry;
mod source;
mod tarball;
mod unpack;

pub mod build;
#[cfg(test)]
mod tests;

pub use archive::Imported;
pub use config::{ImageConfig, Invocation};
pub use error::OciError;
pub use import::{Selection, import};
pub use limits::Limits;
pub use registry::{Credentials, PullRequest, Reference, Version, pull};
pub(crate) use tarball::walk;
pub use unpack::{Unpacked, inspect, unpack};

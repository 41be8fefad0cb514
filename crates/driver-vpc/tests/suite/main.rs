//! The VPC driver against the kernel: hosts are network namespaces joined by a bridge. Needs root.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod connections;
mod flows;
mod gateways;
mod groups;
mod kills;
mod life;
mod memory;
mod outside;
mod peers;
mod reach;
mod routes;
mod segments;
mod services;
mod support;

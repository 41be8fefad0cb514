//! Guest services: the pure parts by tables and properties, the sockets in network namespaces of their own (that
//! needs root, iproute2, nftables, busybox and curl).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod dhcp_v4;
mod dhcp_v6;
mod dns;
mod forward;
mod layouts;
mod live;
mod network;
mod rules;
mod support;

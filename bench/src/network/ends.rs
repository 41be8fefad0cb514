//! What a packet costs between two ends: streams, single bytes there and back, and floods of datagrams.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sys::namespace::within_network;

use crate::Result;
use crate::store::spread;

pub(super) const STREAM: Duration = Duration::from_millis(1500);
pub(super) const FLOOD: Duration = Duration::from_millis(1000);
pub(super) const ROUND_TRIPS: usize = 10_000;
const BLOCK: usize = 128 << 10;
const DATAGRAM: usize = 64;

/// The network namespaces of two ends, each with its address.
pub(super) struct Ends {
    pub(super) from: (PathBuf, IpAddr),
    pub(super) to: (PathBuf, IpAddr),
}

/// What was seen in one round.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) bits: f64,
    pub(super) packets: f64,
    /// Microseconds, the median.
    pub(super) round_trip: f64,
}

impl Ends {
    pub(super) fn look(&self) -> Result<Seen> {
        Ok(Seen { bits: self.stream()?, packets: self.flood()?, round_trip: self.round_trips()? })
    }

    fn connection(&self) -> Result<(TcpStream, TcpStream)> {
        let listener = within(&self.to.0, || TcpListener::bind((self.to.1, 0)))?;
        let to = SocketAddr::new(self.to.1, listener.local_addr()?.port());
        let client = within(&self.from.0, || TcpStream::connect(to))?;
        Ok((client, listener.accept()?.0))
    }

    /// Bits that arrived per second.
    fn stream(&self) -> Result<f64> {
        let (mut client, mut server) = self.connection()?;
        std::thread::scope(|scope| {
            let receiver = scope.spawn(move || {
                let (mut buffer, mut bytes) = (vec![0; BLOCK], 0_u64);
                let began = Instant::now();
                loop {
                    match server.read(&mut buffer)? {
                        0 => return std::io::Result::Ok((bytes, began.elapsed())),
                        some => bytes += some as u64,
                    }
                }
            });
            let (block, began) = (vec![7; BLOCK], Instant::now());
            while began.elapsed() < STREAM {
                client.write_all(&block)?;
            }
            drop(client);
            let (bytes, took) = receiver.join().map_err(|_| "the receiver panicked")??;
            Ok(bytes as f64 * 8.0 / took.as_secs_f64())
        })
    }

    /// Datagrams that arrived per second, sent as fast as one thread can.
    fn flood(&self) -> Result<f64> {
        let server = within(&self.to.0, || UdpSocket::bind((self.to.1, 0)))?;
        let to = SocketAddr::new(self.to.1, server.local_addr()?.port());
        let client = within(&self.from.0, || {
            let socket = UdpSocket::bind((self.from.1, 0))?;
            socket.connect(to)?;
            Ok(socket)
        })?;
        server.set_read_timeout(Some(Duration::from_millis(100)))?;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let (mut buffer, mut arrived) = ([0; 2 * DATAGRAM], 0_u64);
                loop {
                    match server.recv(&mut buffer) {
                        Ok(_) => arrived += 1,
                        Err(_) if over.load(Ordering::Relaxed) => return arrived,
                        Err(_) => {}
                    }
                }
            });
            let (datagram, began) = ([7; DATAGRAM], Instant::now());
            while began.elapsed() < FLOOD {
                for _ in 0..64 {
                    // Refused where a queue is full: that one does not arrive.
                    let _ = client.send(&datagram);
                }
            }
            let took = began.elapsed();
            over.store(true, Ordering::Relaxed);
            let arrived = receiver.join().map_err(|_| "the receiver panicked")?;
            Ok(arrived as f64 / took.as_secs_f64())
        })
    }

    /// The median, in microseconds, of one byte there and back.
    fn round_trips(&self) -> Result<f64> {
        let (mut client, mut server) = self.connection()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        std::thread::scope(|scope| {
            let echo = scope.spawn(move || {
                let mut byte = [0];
                while server.read(&mut byte)? > 0 {
                    server.write_all(&byte)?;
                }
                std::io::Result::Ok(())
            });
            let mut all = Vec::with_capacity(ROUND_TRIPS);
            let mut byte = [7];
            for _ in 0..ROUND_TRIPS {
                let began = Instant::now();
                client.write_all(&byte)?;
                client.read_exact(&mut byte)?;
                all.push(began.elapsed().as_secs_f64() * 1e6);
            }
            drop(client);
            echo.join().map_err(|_| "the other side panicked")??;
            Ok(spread(all).median)
        })
    }
}

/// Opens a socket in a namespace; it stays there.
fn within<T: Send>(namespace: &Path, open: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
    within_network(Some(&File::open(namespace)?), open)
}

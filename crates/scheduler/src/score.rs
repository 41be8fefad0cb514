//! How good a host is for a request, in points, part by part. Higher is better; only differences matter.

use std::fmt;

/// Most points a host gets for its load.
pub(crate) const LOAD_MAX: u8 = 100;
/// Points for having all images: worth ten to twenty per cent of load, so that a cached image decides between
/// hosts that are about equally loaded and does not pile instances onto one.
pub(crate) const IMAGES_MAX: i32 = 15;
/// Points for or against each preferred affinity and anti-affinity.
pub(crate) const PREFERENCE: i32 = 50;
/// Points against a host per instance above a preferred spread's limit, up to [`PREFERENCE`].
pub(crate) const UNEVEN_STEP: i32 = 10;

/// The parts of a host's score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Score {
    /// 0 to 100, by the request's strategy: how empty (spread) or how full (pack) the host is.
    pub load: i32,
    /// For images in the host's cache.
    pub images: i32,
    /// For wished-for neighbours.
    pub near: i32,
    /// Against neighbours to stay away from (0 or less).
    pub apart: i32,
    /// Against domains that have too many already (0 or less).
    pub even: i32,
}

impl Score {
    pub fn total(&self) -> i32 {
        self.load + self.images + self.near + self.apart + self.even
    }
}

impl fmt::Display for Score {
    /// `115 (load 100, images 15)`; parts that count nothing are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (load {}", self.total(), self.load)?;
        let parts =
            [("images", self.images), ("near", self.near), ("apart", self.apart), ("even", self.even)];
        for (name, points) in parts.into_iter().filter(|(_, points)| *points != 0) {
            write!(f, ", {name} {points}")?;
        }
        f.write_str(")")
    }
}

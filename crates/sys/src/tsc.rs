//! The frequency of this processor's time stamp counter, which an emulated guest sees unchanged.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Long enough that reading two clocks one after the other is below a hundredth of a percent.
const MEASURED: Duration = Duration::from_millis(20);

/// Thousands of ticks per second, measured once; what Linux takes as `tsc_early_khz=`. A guest of QEMU's
/// `microvm` under emulation has nothing but the PIT to measure it with, which fails now and then on a busy host
/// and leaves the guest waiting for a timer for ever; told the frequency, it does not measure. Absent on
/// processors without such a counter.
pub fn tsc_khz() -> Option<u64> {
    static KHZ: OnceLock<Option<u64>> = OnceLock::new();
    *KHZ.get_or_init(measure)
}

fn measure() -> Option<u64> {
    let (start, first) = (Instant::now(), ticks()?);
    std::thread::sleep(MEASURED);
    let last = ticks()?;
    let nanoseconds = start.elapsed().as_nanos();
    u64::try_from(u128::from(last.checked_sub(first)?) * 1_000_000 / nanoseconds).ok()
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[allow(clippy::unnecessary_wraps, reason = "other processors have no counter")]
fn ticks() -> Option<u64> {
    // SAFETY: every x86-64 processor has the instruction; it reads a counter and touches no memory.
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> Option<u64> {
    None
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #[test]
    fn is_a_frequency_of_this_century() {
        let khz = super::tsc_khz().unwrap();
        assert!((500_000..10_000_000).contains(&khz), "{khz}");
    }
}

//! A hash that is the same on every machine and in every run, for decisions that must be repeatable. Tables use
//! foldhash instead, whose order no decision depends on.

/// FNV-1a with a final mix (the constants of splitmix64), so that similar keys differ in every bit.
pub(crate) fn stable(text: &str) -> u64 {
    let fnv =
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    mix(fnv)
}

pub(crate) fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

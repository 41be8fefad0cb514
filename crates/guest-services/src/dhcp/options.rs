//! Takes out of a guest's packet the options that are read here, before they are decoded: what is never read
//! cannot upset a decoder, and neither can an option of a length it must not have, since that is none.

use std::ops::RangeInclusive;

/// Bytes of a DHCPv4 message before its options (RFC 2131, section 2), the magic cookie included.
pub(super) const HEADER_V4: usize = 240;
/// Bytes of a DHCPv6 message before its options.
pub(super) const HEADER_V6: usize = 4;
/// Most options that are looked at.
const OPTIONS_MAX: usize = 128;

const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// A code and the lengths its data may have.
pub(super) type Wanted<C, L> = (C, RangeInclusive<L>);

/// The fixed part of a DHCPv4 message from an Ethernet client, and of its options those that are wanted, the first
/// of each: a decoder would join those of one code (RFC 3396), and none of these is long enough to be split.
pub(super) fn keep_v4(packet: &[u8], wanted: &[Wanted<u8, u8>]) -> Option<Vec<u8>> {
    const ETHERNET: [u8; 2] = [1, 6];
    let (header, mut rest) = packet.split_at_checked(HEADER_V4)?;
    if header[1..3] != ETHERNET || header[236..] != COOKIE {
        return None;
    }
    let mut kept = header.to_vec();
    let mut seen = Vec::with_capacity(wanted.len());
    for _ in 0..OPTIONS_MAX {
        let (code, after) = match rest {
            [] | [255, ..] => break,
            [0, after @ ..] => {
                rest = after;
                continue;
            }
            [code, after @ ..] => (*code, after),
        };
        let (length, after) = after.split_first()?;
        let (data, after) = after.split_at_checked(usize::from(*length))?;
        let is_wanted = wanted.iter().any(|(wanted, lengths)| *wanted == code && lengths.contains(length));
        if is_wanted && !seen.contains(&code) {
            seen.push(code);
            kept.extend([code, *length]);
            kept.extend(data);
        }
        rest = after;
    }
    kept.push(255);
    Some(kept)
}

/// A DHCPv6 message with the wanted options only; identity associations keep only their addresses.
pub(super) fn keep_v6(packet: &[u8], wanted: &[Wanted<u16, usize>]) -> Option<Vec<u8>> {
    const IA_NA: u16 = 3;
    const IA_NA_HEADER: usize = 12;
    const IA_TA: u16 = 4;
    const IA_PD: u16 = 25;
    const IA_ADDRESS: u16 = 5;
    const IA_ADDRESS_HEADER: usize = 24;
    let (header, options) = packet.split_at_checked(HEADER_V6)?;
    let mut kept = header.to_vec();
    for (code, data) in split_v6(options)? {
        let is_wanted =
            |(wanted, lengths): &Wanted<u16, usize>| *wanted == code && lengths.contains(&data.len());
        match code {
            _ if !wanted.iter().any(is_wanted) => {}
            IA_NA => {
                let (fixed, inner) = data.split_at_checked(IA_NA_HEADER)?;
                let mut short = fixed.to_vec();
                for (code, data) in split_v6(inner)?.into_iter().filter(|(code, _)| *code == IA_ADDRESS) {
                    push_v6(&mut short, code, data.get(..IA_ADDRESS_HEADER)?)?;
                }
                push_v6(&mut kept, code, &short)?;
            }
            // These are refused whatever is in them: their number is enough, and the two times of a prefix's.
            IA_TA => push_v6(&mut kept, code, data.get(..4)?)?,
            IA_PD => push_v6(&mut kept, code, data.get(..12)?)?,
            _ => push_v6(&mut kept, code, data)?,
        }
    }
    Some(kept)
}

fn split_v6(mut rest: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut options = Vec::new();
    while !rest.is_empty() && options.len() < OPTIONS_MAX {
        let (head, after) = rest.split_first_chunk::<4>()?;
        let [c0, c1, l0, l1] = *head;
        let (data, after) = after.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        options.push((u16::from_be_bytes([c0, c1]), data));
        rest = after;
    }
    Some(options)
}

fn push_v6(to: &mut Vec<u8>, code: u16, data: &[u8]) -> Option<()> {
    to.extend(code.to_be_bytes());
    to.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
    to.extend(data);
    Some(())
}

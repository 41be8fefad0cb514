//! Times: RFC 3339 in and out, ages as kubectl prints them.

use model::Timestamp;
use proptest::prelude::*;

#[test]
fn times_are_read_in_any_offset_and_written_in_utc() {
    let check = |text: &str, expected: &str| {
        assert_eq!(Timestamp::parse(text).unwrap().to_string(), expected, "{text}");
    };
    check("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z");
    check("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.500Z");
    check("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123Z");
    check("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z");
    check("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00Z");
    check("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z");
    check("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z");
}

#[test]
fn what_is_no_time_is_refused() {
    for bad in [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-31T25:00:00Z",
        "31.1.2026",
        "1769860800",
        "2026-01-31T12:00:00Z ",
    ] {
        assert_eq!(Timestamp::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn ages_are_short() {
    let check = |seconds: i64, expected: &str| {
        assert_eq!(Timestamp(0).age(Timestamp(seconds * 1000)), expected);
    };
    for (seconds, expected) in [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (86_400 * 400, "400d"),
    ] {
        check(seconds, expected);
    }
    assert_eq!(Timestamp(i64::MIN).age_seconds(Timestamp(i64::MAX)), u64::try_from(i64::MAX / 1000).unwrap());
}

proptest! {
    /// Every millisecond of the years that RFC 3339 can write (0 to 9999) comes back as it went.
    #[test]
    fn what_is_written_is_read_back(ms in -62_167_219_200_000_i64..253_402_300_800_000) {
        let time = Timestamp(ms);
        prop_assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
    }

    #[test]
    fn no_number_makes_it_panic(ms in any::<i64>(), now in any::<i64>()) {
        let _ = (Timestamp(ms).to_string(), Timestamp(ms).age(Timestamp(now)));
    }
}

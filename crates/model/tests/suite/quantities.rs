//! Amounts: what is read, what is written, what is refused.

use model::{Bytes, CpuMillis, Resources};
use proptest::prelude::*;

#[test]
fn cpu_is_read_as_people_write_it() {
    let check = |text: &str, expected: Option<u64>| {
        assert_eq!(CpuMillis::parse(text).ok(), expected.map(CpuMillis), "{text:?}");
    };
    for (text, millis) in
        [("2", 2000), ("500m", 500), ("0", 0), ("0m", 0), ("1.5", 1500), ("0.25", 250), ("1.0005", 1000)]
    {
        check(text, Some(millis));
    }
    check("18446744073709551615m", Some(u64::MAX));
    check("18446744073709551.615", Some(u64::MAX));
    for overflow in ["18446744073709551616m", "18446744073709552", "18446744073709551.616"] {
        check(overflow, None);
    }
    for nonsense in [
        "", "m", "-1", "-1m", "+1", "+1m", "1.5m", "1 ", " 1", "1e3", "1.", "lots", "1.2.3", ".", ".5",
        "1,5", "٣", "2G",
    ] {
        // A trailing point is an integer as good as any: Kubernetes takes it, too.
        check(nonsense, (nonsense == "1.").then_some(1000));
    }
}

#[test]
fn bytes_are_read_as_people_write_them() {
    let check = |text: &str, expected: Option<u64>| {
        assert_eq!(Bytes::parse(text).ok(), expected.map(Bytes), "{text:?}");
    };
    for (text, bytes) in [
        ("0", 0),
        ("1", 1),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1M", 1_000_000),
        ("1Mi", 1 << 20),
        ("1.5Gi", 3 << 29),
        ("2T", 2_000_000_000_000),
        ("2Ti", 2 << 40),
        ("1P", 1_000_000_000_000_000),
        ("1Pi", 1 << 50),
        ("0.1k", 100),
    ] {
        check(text, Some(bytes));
    }
    check("18446744073709551615", Some(u64::MAX));
    check("16383Pi", Some(16383 << 50));
    for overflow in ["18446744073709551616", "16384Pi", "18447P", "99999999999999999999999"] {
        check(overflow, None);
    }
    for nonsense in [
        "",
        "Mi",
        "-1Mi",
        "+1Mi",
        "1mi",
        "1MI",
        "1 Mi",
        "1MiB",
        "1Mi ",
        "0x10",
        "1e3",
        "1m",
        "1.0000000001Gi",
    ] {
        check(nonsense, None);
    }
}

#[test]
fn amounts_are_written_in_the_largest_unit_that_is_exact() {
    let texts: Vec<String> =
        [0, 1, 1000, 1024, 1536, 1 << 20, 3 << 29, 1 << 30, 5 << 40].map(|n| Bytes(n).to_string()).into();
    assert_eq!(texts, ["0", "1", "1000", "1Ki", "1536", "1Mi", "1536Mi", "1Gi", "5Ti"]);
    assert_eq!([0, 1, 999, 1000, 1500].map(|n| CpuMillis(n).to_string()), ["0", "1m", "999m", "1", "1500m"]);
    let all = Resources { cpu: CpuMillis(1500), memory: Bytes::gib(2), disk: Bytes::gib(10) };
    assert_eq!(all.to_string(), "1500m cpu, 2Gi memory, 10Gi disk");
    assert_eq!(Resources { disk: Bytes(0), ..all }.to_string(), "1500m cpu, 2Gi memory");
}

#[test]
fn a_refusal_shows_at_most_forty_characters_of_what_was_given() {
    let error = Bytes::parse(&"ß".repeat(1000)).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("\"{}\" is not an amount of bytes: write for example \"256Mi\" or \"10Gi\"", "ß".repeat(40))
    );
}

#[test]
fn fitting_means_fitting_in_everything() {
    let room = Resources { cpu: CpuMillis(1000), memory: Bytes(100), disk: Bytes(10) };
    assert!(room.fits_in(&room));
    for larger in [
        Resources { cpu: CpuMillis(1001), ..room },
        Resources { memory: Bytes(101), ..room },
        Resources { disk: Bytes(11), ..room },
    ] {
        assert!(!larger.fits_in(&room), "{larger}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(n in any::<u64>(), shift in 0..64_u32) {
        let n = n >> shift;
        prop_assert_eq!(Bytes::parse(&Bytes(n).to_string()), Ok(Bytes(n)));
        prop_assert_eq!(CpuMillis::parse(&CpuMillis(n).to_string()), Ok(CpuMillis(n)));
        let resources = Resources { cpu: CpuMillis(n), memory: Bytes(n), disk: Bytes(n) };
        let json = serde_json::to_string(&resources).unwrap();
        prop_assert_eq!(serde_json::from_str::<Resources>(&json).unwrap(), resources);
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,30}", digits in "[0-9.]{0,40}(m|k|Ki|P|Pi)?") {
        for text in [text, digits] {
            let _ = (Bytes::parse(&text), CpuMillis::parse(&text));
        }
    }

    /// Sums stop at the ends of the range instead of wrapping round.
    #[test]
    fn sums_and_differences_saturate(a in any::<u64>(), b in any::<u64>()) {
        prop_assert_eq!((Bytes(a) + Bytes(b)).0, a.saturating_add(b));
        prop_assert_eq!((CpuMillis(a) - CpuMillis(b)).0, a.saturating_sub(b));
    }
}

//! Feeds one of the functions that read what strangers write, named by FUZZ_TARGET, with whatever reaches new code.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 5] = [
    ("query", facade_aws::fuzz::query),
    ("xml", facade_aws::fuzz::xml),
    ("policy", identity::fuzz::policy),
    ("request", identity::fuzz::request),
    ("signature", identity::fuzz::signature),
];

fn target() -> Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, target)| *target).expect("FUZZ_TARGET must be query, xml, policy, request or signature")
}

fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<Target> = OnceLock::new();
    TARGET.get_or_init(target)(data);
});

//! What a packet between two hosts costs, beside the same way without a filter and beside Docker's overlay.

use driver::PortPlan;
use driver_vpc::lab::{Lab, anything, group, namespace_of, pings, plans, run, sandbox, uid};

use super::ends::{Ends, FLOOD, ROUND_TRIPS, STREAM, Seen};
use super::{busybox, ensure};
use crate::Result;
use crate::network::overlay::Overlay;
use crate::report::{Row, Verdict, number, times};
use crate::store::spread;

/// In turns, so often.
const ROUNDS: usize = 9;
const VNI: u32 = 91;

/// What was seen of the three ways in one round.
struct Round {
    ours: Seen,
    bare: Seen,
    overlay: Option<Seen>,
}

pub(super) async fn measure() -> Result<Vec<Row>> {
    let ours = Way::make(VNI).await?;
    let bare = Way::make(VNI).await?;
    bare.take_filters_away();
    let overlay = Overlay::make(&busybox()?).await;
    let mut rounds = Vec::new();
    // The first round warms all and does not count.
    for number in 0..=ROUNDS {
        let theirs = || overlay.as_ref().ok().map(Overlay::look).transpose();
        let round = if number % 2 == 0 {
            Round { ours: ours.look()?, bare: bare.look()?, overlay: theirs()? }
        } else {
            let (overlay, bare) = (theirs()?, bare.look()?);
            Round { ours: ours.look()?, bare, overlay }
        };
        if number > 0 {
            rounds.push(round);
        }
    }
    Ok(rows(&rounds, overlay.err().map(|e| e.to_string())))
}

/// Two hosts with a port each.
struct Way {
    lab: Lab,
    vpc: model::Uid,
    ends: Ends,
}

impl Way {
    async fn make(vni: u32) -> Result<Self> {
        let lab = Lab::new(2);
        let open = uid();
        let (from, to) = (lab.port(&["10.0.0.2"], &[&open]), lab.port(&["10.0.0.3"], &[&open]));
        let members = group(&open, &[&from, &to], anything());
        let all = plans(&lab, vni, &[vec![from.clone()], vec![to.clone()]], &[members]);
        for (host, plan) in all.iter().enumerate() {
            ensure(&lab, host, plan).await?;
        }
        let end = |port: &PortPlan| (sandbox(port).to_owned(), port.addresses[0]);
        let ends = Ends { from: end(&from), to: end(&to) };
        let way = Self { lab, vpc: all[0].uid.clone(), ends };
        way.answers()?;
        Ok(way)
    }

    fn answers(&self) -> Result<()> {
        let answered = pings(&self.ends.from.0, &self.ends.to.1.to_string());
        answered.then_some(()).ok_or_else(|| "the ports do not reach each other".into())
    }

    /// Leaves links, addresses and routes, and nothing that looks at packets on their way.
    fn take_filters_away(&self) {
        for host in &self.lab.hosts {
            run(&host.namespace, "nft flush ruleset");
            run(&namespace_of(host, &self.vpc), "nft flush ruleset");
        }
    }

    fn look(&self) -> Result<Seen> {
        self.answers()?;
        self.ends.look()
    }
}

fn rows(rounds: &[Round], no_docker: Option<String>) -> Vec<Row> {
    let mut stream = beside_bare(rounds, &STREAMS, None);
    stream.note = format!(
        "{ROUNDS} rounds in turns of {} ms each, one stream. Hosts are network namespaces joined by a bridge, so sender, \
         receiver and both hosts share the cores, and the wire costs nothing. The other way has the same namespaces, \
         veth pairs, VXLAN, addresses and routes, with every rule of nf_tables taken away, and with it connection \
         tracking.",
        STREAM.as_millis()
    );
    let mut trips = beside_bare(rounds, &TRIPS, Some(1.05));
    trips.note = format!("the median of {ROUND_TRIPS} per turn, as above.");
    let mut flood = beside_bare(rounds, &PACKETS, None);
    flood.note =
        format!("one sender, one datagram per call, for {} ms per turn, as above.", FLOOD.as_millis());
    let mut all = vec![stream, trips, flood];
    for measured in [&STREAMS, &TRIPS, &PACKETS] {
        let mut row = beside_overlay(rounds, measured);
        row.note = match &no_docker {
            Some(why) => format!("Docker was not measured: {}", why.replace('\n', " ")),
            None => "in the same rounds: a swarm of two Docker daemons on hosts of the same kind, an attachable overlay \
                     network without encryption, a container on each."
                .into(),
        };
        all.push(row);
    }
    all
}

/// One of the three things that are measured.
struct Measured {
    what: &'static str,
    unit: &'static str,
    scale: f64,
    of: fn(&Seen) -> f64,
    more_is_better: bool,
}

const STREAMS: Measured = Measured {
    what: "network: TCP between ports on two hosts",
    unit: "Gbit/s",
    scale: 1e9,
    of: |seen| seen.bits,
    more_is_better: true,
};
const TRIPS: Measured = Measured {
    what: "network: TCP, one byte there and back",
    unit: "us",
    scale: 1.0,
    of: |seen| seen.round_trip,
    more_is_better: false,
};
const PACKETS: Measured = Measured {
    what: "network: 64-byte UDP datagrams that arrive",
    unit: "k/s",
    scale: 1e3,
    of: |seen| seen.packets,
    more_is_better: true,
};

impl Measured {
    fn told<'a>(&self, seen: impl Iterator<Item = &'a Seen>) -> String {
        format!("{} {}", number(spread(seen.map(self.of)).median / self.scale), self.unit)
    }
}

fn beside_bare(rounds: &[Round], measured: &Measured, most: Option<f64>) -> Row {
    let ratio = spread(rounds.iter().map(|round| (measured.of)(&round.ours) / (measured.of)(&round.bare)));
    let (goal, met) = match most {
        Some(most) => (format!("<= {most:.2}x"), ratio.median <= most),
        None => (">= 0.95x".into(), ratio.median >= 0.95),
    };
    Row {
        what: measured.what.into(),
        corten: measured.told(rounds.iter().map(|round| &round.ours)),
        peer: format!(
            "the same way without a filter: {}",
            measured.told(rounds.iter().map(|round| &round.bare))
        ),
        ratio: times(ratio),
        goal,
        verdict: Verdict::of(met),
        ..Row::default()
    }
}

/// The ratio says how many times better ours is.
fn beside_overlay(rounds: &[Round], measured: &Measured) -> Row {
    let mut row = Row {
        what: format!("{}, beside Docker's overlay", measured.what),
        corten: measured.told(rounds.iter().map(|round| &round.ours)),
        goal: ">= 1.2x".into(),
        ..Row::default()
    };
    let both: Vec<_> =
        rounds.iter().filter_map(|round| Some((&round.ours, round.overlay.as_ref()?))).collect();
    if !both.is_empty() {
        let ratio = spread(both.iter().map(|(ours, theirs)| {
            let ratio = (measured.of)(ours) / (measured.of)(theirs);
            if measured.more_is_better { ratio } else { ratio.recip() }
        }));
        row.peer = format!("Docker's overlay: {}", measured.told(both.iter().map(|(_, theirs)| *theirs)));
        row.ratio = times(ratio);
        row.verdict = Verdict::of(ratio.median >= 1.2);
    }
    row
}

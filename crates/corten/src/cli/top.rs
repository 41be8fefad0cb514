//! `corten top`: what hosts have and have promised, and what instances asked for.

use client::ListParams;
use model::compute::{Instance, InstancePhase};
use model::topology::Host;
use model::{Bytes, CpuMillis, Resources};

use super::api::Cloud;
use super::output;
use super::table::Table;
use crate::failure::Failure;

/// Show what hosts have and have promised, and what instances asked for
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(cloud: Cloud) -> Result<(), Failure> {
    let all = ListParams::default();
    let hosts = cloud.client.all::<Host>().list(&all).await?.items;
    let instances = cloud.client.all::<Instance>().list(&all).await?.items;
    output::print(&report(&hosts, &instances))
}

fn report(hosts: &[Host], instances: &[Instance]) -> String {
    let mut table = Table::with(&["HOST", "INSTANCES", "CPU", "OF", "MEMORY", "OF", "DISK", "OF"]);
    for host in hosts {
        let here = instances.iter().filter(|i| i.status.host == host.metadata.name);
        let (mut count, mut promised) = (0_u32, Resources::ZERO);
        for instance in here {
            count += 1;
            promised += instance.spec.resources;
        }
        let room = host.allocatable();
        let mut row = vec![host.metadata.name.clone(), count.to_string()];
        row.extend(amounts(&promised).into_iter().zip(amounts(&room)).flat_map(|(p, r)| [p, r]));
        table.rows.push(row);
    }
    let mut out = table.render();
    if !instances.is_empty() {
        let mut by_size: Vec<&Instance> = instances.iter().collect();
        by_size.sort_by_key(|i| std::cmp::Reverse((i.spec.resources.memory, i.spec.resources.cpu)));
        let mut table = Table::with(&["PROJECT", "INSTANCE", "PHASE", "HOST", "CPU", "MEMORY", "DISK"]);
        for instance in by_size {
            let mut row = vec![
                instance.metadata.namespace.clone(),
                instance.metadata.name.clone(),
                phase(instance.status.phase),
                instance.status.host.clone(),
            ];
            row.extend(amounts(&instance.spec.resources));
            table.rows.push(row);
        }
        out.push('\n');
        out += &table.render();
    }
    out
}

fn phase(phase: InstancePhase) -> String {
    phase.as_str().to_owned()
}

fn amounts(resources: &Resources) -> [String; 3] {
    [cores(resources.cpu), size(resources.memory), size(resources.disk)]
}

fn cores(cpu: CpuMillis) -> String {
    format!("{:.2}", cpu.0 as f64 / 1000.0)
}

fn size(bytes: Bytes) -> String {
    match bytes.as_mib() {
        mib if mib >= 10_240 => format!("{}Gi", mib / 1024),
        mib => format!("{mib}Mi"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectMeta;
    use model::compute::InstanceSpec;
    use model::topology::HostSpec;

    fn resources(cpu: u64, mib: u64) -> Resources {
        Resources { cpu: CpuMillis(cpu), memory: Bytes::mib(mib), disk: Bytes::gib(20) }
    }

    #[test]
    fn promises_are_summed_per_host() {
        let mut host = Host::new(ObjectMeta::named("h1"), HostSpec::default());
        host.status.capacity = resources(2000, 4096);
        let instance = |name: &str, on: &str, mib| {
            let spec = InstanceSpec { resources: resources(250, mib), ..InstanceSpec::default() };
            let mut instance = Instance::new(ObjectMeta::in_project("p", name), spec);
            instance.status.host = on.into();
            instance
        };
        let instances = [instance("a", "h1", 128), instance("b", "h1", 256), instance("c", "", 512)];
        let report = report(&[host], &instances);
        let lines: Vec<String> =
            report.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[1], "h1 2 0.50 8.00 384Mi 4096Mi 40Gi 20Gi");
        assert_eq!(lines[4], "p c Pending 0.25 512Mi 20Gi", "the largest comes first");
    }
}

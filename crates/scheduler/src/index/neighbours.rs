//! Who is near whom: label groups that rules ask about, counted per host, rack and zone as instances come and go,
//! and roles (project and labels), which all instances of one set share.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;
use model::compute::TopologyKey;

use super::class::{Class, Counts, Step, shift};
use super::hosts::{Host, Seat};
use super::slab::{Id, Slab};

pub(crate) type Labels = BTreeMap<String, String>;

pub(crate) const TOPOLOGIES: [TopologyKey; 3] = [TopologyKey::Host, TopologyKey::Rack, TopologyKey::Zone];

/// A rule that no instance of the group may be in the same domain.
pub(crate) type Repulsion = (Id<Group>, TopologyKey);

/// Instances of one project that have at least the selector's labels.
#[derive(Debug)]
pub(crate) struct Group {
    project: String,
    pub(crate) selector: Labels,
    /// Members per domain, by level: host, rack, zone.
    members: [Counts; 3],
    /// Instances per domain that tolerate no member in theirs.
    repellers: [Counts; 3],
    /// Bindings whose rules name this group; while there are any it is not forgotten.
    users: u32,
    censuses: Vec<Census>,
}

/// How many domains within reach of a class have how many members: knows the emptiest at once.
#[derive(Debug)]
struct Census {
    topology: TopologyKey,
    class: Id<Class>,
    domains_by_count: BTreeMap<u32, usize>,
}

/// What instances of the same project with the same labels have in common.
#[derive(Debug)]
pub(crate) struct Role {
    project: String,
    labels: Labels,
    /// Groups they are members of.
    pub(crate) groups: Vec<Id<Group>>,
    /// Bindings on known hosts, per host.
    hosts: Counts,
    /// All bindings.
    users: u32,
}

#[derive(Debug, Default)]
struct Project {
    roles: HashMap<Labels, Id<Role>, RandomState>,
    groups: HashMap<Labels, Id<Group>, RandomState>,
}

#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    pub(crate) groups: Slab<Group>,
    pub(crate) roles: Slab<Role>,
    projects: HashMap<String, Project, RandomState>,
}

fn level(topology: TopologyKey) -> usize {
    match topology {
        TopologyKey::Host => 0,
        TopologyKey::Rack => 1,
        TopologyKey::Zone => 2,
    }
}

pub(crate) fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl Group {
    pub(crate) fn members(&self, topology: TopologyKey) -> &Counts {
        &self.members[level(topology)]
    }

    pub(crate) fn repellers(&self, topology: TopologyKey) -> &Counts {
        &self.repellers[level(topology)]
    }

    /// The members in the emptiest domain that the class reaches; nothing when it reaches none.
    pub(crate) fn fewest(&self, topology: TopologyKey, class: Id<Class>) -> Option<u32> {
        let census = self.censuses.iter().find(|c| c.topology == topology && c.class == class)?;
        census.domains_by_count.keys().next().copied()
    }

    fn shift(&mut self, seat: Seat, step: Step, classes: &Slab<Class>) {
        for topology in TOPOLOGIES {
            let place = seat.at(topology);
            let (before, after) = shift(&mut self.members[level(topology)], place, step);
            for census in self.censuses.iter_mut().filter(|c| c.topology == topology) {
                if classes[census.class].reaches(topology, place) {
                    census.recount(before, after);
                }
            }
        }
    }
}

impl Census {
    fn recount(&mut self, before: u32, after: u32) {
        if let Some(domains) = self.domains_by_count.get_mut(&before) {
            *domains -= 1;
            if *domains == 0 {
                self.domains_by_count.remove(&before);
            }
        }
        *self.domains_by_count.entry(after).or_insert(0) += 1;
    }
}

impl Neighbours {
    pub(crate) fn role(&mut self, project: &str, labels: &Labels) -> Id<Role> {
        let ids = self.projects.entry(project.to_owned()).or_default();
        if let Some(id) = ids.roles.get(labels) {
            return *id;
        }
        let joined = ids.groups.iter().filter(|(selector, _)| selects(selector, labels));
        let role = Role {
            project: project.into(),
            labels: labels.clone(),
            groups: joined.map(|(_, id)| *id).collect(),
            hosts: Counts::default(),
            users: 0,
        };
        let id = self.roles.insert(role);
        ids.roles.insert(labels.clone(), id);
        id
    }

    /// The group of a selector; a new one counts the members that are there already.
    pub(crate) fn group(&mut self, project: &str, selector: &Labels, hosts: &Slab<Host>) -> Id<Group> {
        let ids = self.projects.entry(project.to_owned()).or_default();
        if let Some(id) = ids.groups.get(selector) {
            return *id;
        }
        let mut members: [Counts; 3] = Default::default();
        let fitting = ids.roles.iter().filter(|(labels, _)| selects(selector, labels));
        let fitting: Vec<_> = fitting.map(|(_, id)| *id).collect();
        for (host, count) in fitting.iter().flat_map(|id| &self.roles[*id].hosts) {
            let seat = hosts[Id::from_raw(*host)].seat;
            for topology in TOPOLOGIES {
                *members[level(topology)].entry(seat.at(topology)).or_insert(0) += count;
            }
        }
        let id = self.groups.insert(Group {
            project: project.into(),
            selector: selector.clone(),
            members,
            repellers: Default::default(),
            users: 0,
            censuses: Vec::new(),
        });
        ids.groups.insert(selector.clone(), id);
        for role in fitting {
            self.roles[role].groups.push(id);
        }
        id
    }

    /// Makes sure that [`Group::fewest`] knows the answer.
    pub(crate) fn take_census(
        &mut self,
        group: Id<Group>,
        topology: TopologyKey,
        class_id: Id<Class>,
        class: &Class,
    ) {
        let group = &mut self.groups[group];
        if group.censuses.iter().any(|c| c.topology == topology && c.class == class_id) {
            return;
        }
        let mut domains_by_count = BTreeMap::new();
        let mut empty = class.domains(topology);
        for (_, count) in
            group.members[level(topology)].iter().filter(|(place, _)| class.reaches(topology, **place))
        {
            *domains_by_count.entry(*count).or_insert(0) += 1;
            empty -= 1;
        }
        if empty > 0 {
            domains_by_count.insert(0, empty);
        }
        group.censuses.push(Census { topology, class: class_id, domains_by_count });
    }

    /// The class reaches other domains now: what was counted for it holds no longer.
    pub(crate) fn drop_censuses(&mut self, class: Id<Class>) {
        for (_, group) in self.groups.iter_mut() {
            group.censuses.retain(|census| census.class != class);
        }
    }

    /// An instance takes its seat, or leaves it.
    pub(crate) fn seat(
        &mut self,
        role: Id<Role>,
        repels: &[Repulsion],
        seat: Seat,
        step: Step,
        classes: &Slab<Class>,
    ) {
        let role = &mut self.roles[role];
        shift(&mut role.hosts, seat.host, step);
        for group in &role.groups {
            self.groups[*group].shift(seat, step, classes);
        }
        for (group, topology) in repels {
            shift(&mut self.groups[*group].repellers[level(*topology)], seat.at(*topology), step);
        }
    }

    /// A binding begins or ceases to exist, wherever it is.
    pub(crate) fn use_by_binding(&mut self, role: Id<Role>, repels: &[Repulsion], step: Step) {
        let change = |users: &mut u32| match step {
            Step::Up => *users += 1,
            Step::Down => *users -= 1,
        };
        change(&mut self.roles[role].users);
        for (group, _) in repels {
            change(&mut self.groups[*group].users);
        }
    }

    /// Forgets every role and group that no binding needs, and all censuses. The caller forgets their ids.
    pub(crate) fn forget_unused(&mut self) {
        let dead: HashSet<u32> =
            self.groups.iter().filter(|(_, g)| g.users == 0).map(|(id, _)| id.raw()).collect();
        for id in dead.iter().map(|raw| Id::from_raw(*raw)) {
            self.groups.remove(id);
        }
        for (_, group) in self.groups.iter_mut() {
            group.censuses.clear();
        }
        let idle: Vec<_> = self.roles.iter().filter(|(_, r)| r.users == 0).map(|(id, _)| id).collect();
        for id in idle {
            self.roles.remove(id);
        }
        self.projects.clear();
        for (id, role) in self.roles.iter_mut() {
            role.groups.retain(|group| !dead.contains(&group.raw()));
            let ids = self.projects.entry(role.project.clone()).or_default();
            ids.roles.insert(role.labels.clone(), id);
        }
        for (id, group) in self.groups.iter() {
            let ids = self.projects.entry(group.project.clone()).or_default();
            ids.groups.insert(group.selector.clone(), id);
        }
    }
}

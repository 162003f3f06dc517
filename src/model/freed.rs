//! What an eviction did: one report per station, step by step, with how long each took.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cause, GrantId, Incarnation, MacAddr, Traffic};

/// The steps of an eviction, in the order in which they are reported. Flows are freed beside those after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The nft elements of both directions: from here on no packet passes.
    Enforcement,
    /// conntrack flows of every address of the station, IPv4 and IPv6.
    Flows,
    /// The 802.11 association, on every BSS.
    Association,
    /// Neighbour entries (ARP and ND caches).
    Neighbours,
    /// DHCP leases.
    Leases,
    /// Reading back what kernel and hostapd hold now.
    Verification,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Step; 6] = [
        Step::Enforcement,
        Step::Flows,
        Step::Association,
        Step::Neighbours,
        Step::Leases,
        Step::Verification,
    ];

    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Step::Enforcement => "enforcement",
            Step::Flows => "flows",
            Step::Association => "association",
            Step::Neighbours => "neighbours",
            Step::Leases => "leases",
            Step::Verification => "verification",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// Done; so many things were freed (elements, flows, associations, entries, leases).
    Done {
        /// How many.
        freed: u32,
    },
    /// Nothing to do it with: no hostapd, no DHCP server.
    Absent,
    /// Not done; the eviction went on with the next step.
    Failed {
        /// What stood in the way, for people.
        why: String,
    },
}

/// One step of one eviction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// Which.
    pub step: Step,
    /// How it ended.
    pub outcome: StepOutcome,
    /// Microseconds from its start to its acknowledgement.
    pub took_us: u64,
}

/// What one eviction freed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Why the grant ended.
    pub cause: Cause,
    /// The grant.
    pub grant: GrantId,
    /// What the station moved under it, final figures.
    pub moved: Traffic,
    /// The steps, in order.
    pub steps: Vec<StepReport>,
    /// The station; absent: nobody had come with the code of the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<MacAddr>,
    /// Microseconds from the notice to the end of the last step.
    pub total_us: u64,
    /// Which join.
    pub incarnation: Incarnation,
}

/// Sums over a report, for one line of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// nft elements.
    pub elements: u32,
    /// conntrack flows.
    pub flows: u32,
    /// 802.11 associations.
    pub associations: u32,
    /// Neighbour entries.
    pub neighbours: u32,
    /// DHCP leases.
    pub leases: u32,
}

impl Report {
    /// What each step freed.
    pub fn freed(&self) -> Freed {
        let mut sums = Freed::default();
        for report in &self.steps {
            let StepOutcome::Done { freed } = report.outcome else { continue };
            match report.step {
                Step::Enforcement => sums.elements += freed,
                Step::Flows => sums.flows += freed,
                Step::Association => sums.associations += freed,
                Step::Neighbours => sums.neighbours += freed,
                Step::Leases => sums.leases += freed,
                Step::Verification => {}
            }
        }
        sums
    }

    /// Whether every step was done or had nothing to do it with.
    pub fn is_complete(&self) -> bool {
        self.steps.iter().all(|report| !matches!(report.outcome, StepOutcome::Failed { .. }))
    }
}

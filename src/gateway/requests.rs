//! What the owner asks by the control socket: to see, to grant, to top up, to evict.

use std::collections::BTreeMap;
use std::time::Duration;

use super::doctor;
use super::effects::Gateway;
use super::sealing::codes_unwritten;
use crate::adapters::nftables::MOST_BYTES;
use crate::host::clock;
use crate::host::control::{Asked, Reply, line};
use crate::logic::grants::{self, Grant};
use crate::model::{
    BootTime, Cause, Code, GrantId, GrantSpec, Holder, Incarnation, MacAddr, Millis, Origin, Refusal,
};
use crate::wire::local::{Account, Event, GatewayRequest, GrantAsk, GrantRow, Granted, GrantedCode, Target};
use crate::wire::sign::{new_grant_id, random};

impl Gateway {
    /// What a caller asks, answered at once or when it is done.
    pub fn answer(&mut self, asked: Asked<GatewayRequest>) {
        let now = clock::now();
        let Asked { request, reply } = asked;
        match request {
            GatewayRequest::Status => reply.ok(self.status(now)),
            GatewayRequest::Stations => reply.ok(self.station_rows()),
            GatewayRequest::Grants => reply.ok(self.grant_rows(now)),
            GatewayRequest::Grant { grants } => self.grant(&grants, reply, now),
            GatewayRequest::GrantRadius { station, name, password } => {
                self.radius_grant(station, name, password, reply, now);
            }
            GatewayRequest::GrantCode { lease, quota } => self.grant_code(lease, quota, reply, now),
            GatewayRequest::Topup { target, lease, quota } => match self.top_up(target, lease, quota, now) {
                Ok(row) => reply.ok(row),
                Err(refusal) => reply.refuse(refusal),
            },
            GatewayRequest::Evict { target } => self.evict(target, reply, now),
            #[cfg(feature = "push")]
            GatewayRequest::Push(ask) => self.push(ask, reply, now),
            #[cfg(feature = "push")]
            GatewayRequest::Messages => reply.ok(self.message_rows(now)),
            #[cfg(feature = "push")]
            GatewayRequest::Withdraw { message } => self.withdraw(message, reply, now),
            #[cfg(feature = "portal")]
            GatewayRequest::Vouchers { count, value, valid } => {
                self.print_vouchers(count, value, valid, reply, now);
            }
            #[cfg(feature = "portal")]
            GatewayRequest::Ledger { after } => self.ledger_page(after, reply),
            GatewayRequest::Watch => {
                reply.stream(self.events.subscribe(), |events| line(&Event::Missed { events }));
            }
            GatewayRequest::Doctor => doctor::examine(self, reply),
        }
    }

    fn grant(&mut self, asked: &[GrantAsk], reply: Reply, now: BootTime) {
        let specs: Vec<GrantSpec> = asked
            .iter()
            .map(|ask| GrantSpec {
                id: new_grant_id(),
                code: None,
                lease: ask.lease,
                quota: ask.quota,
                holder: Holder::Station,
                station: ask.station,
                incarnation: Incarnation(1),
            })
            .collect();
        if let Err(refusal) = self.check(&specs) {
            return reply.refuse(refusal);
        }
        let granted: Vec<Granted> =
            specs.iter().map(|spec| Granted { id: spec.id, station: spec.station }).collect();
        match self.give_by_hand(specs, now) {
            Ok(()) => reply.ok(granted),
            Err(refusal) => reply.refuse(refusal),
        }
    }

    /// Gives what was checked; all of it, or nothing where the kernel refuses.
    pub fn give_by_hand(&mut self, specs: Vec<GrantSpec>, now: BootTime) -> Result<(), Refusal> {
        let ids: Vec<GrantId> = specs.iter().map(|spec| spec.id).collect();
        self.refused = false;
        self.grants.handle_input(grants::Input::Give { grants: specs, origin: Origin::Owner }, now);
        self.settle(now);
        if !self.refused {
            return Ok(());
        }
        for grant in ids {
            let input = grants::Input::Take { grant, incarnation: None, cause: Cause::Owner };
            self.grants.handle_input(input, now);
        }
        let sentence =
            "the kernel refused to let them in; nothing was granted; see the log and `wayleave doctor`";
        Err(Refusal::new("kernel-refused", sentence))
    }

    /// Whether grants by hand would be taken.
    pub fn check(&self, specs: &[GrantSpec]) -> Result<(), Refusal> {
        self.grants.check(specs)?;
        for spec in specs {
            if self.world.is_ours(spec.station) {
                let sentence = format!("{} is the address of an interface of this gateway", spec.station);
                return Err(Refusal::new("own-address", sentence));
            }
            check_terms(Some(spec.station), spec.lease, spec.quota)?;
        }
        Ok(())
    }

    fn grant_code(&mut self, lease: Option<Millis>, quota: Option<u64>, reply: Reply, now: BootTime) {
        if let Err(refusal) = self.check_code(lease, quota) {
            return reply.refuse(refusal);
        }
        let (id, code) = (new_grant_id(), Code::new(random()));
        let networks = self.opened_by(&code);
        let has_accounts = self.code_networks().any(|network| network.eap_user_file.is_some());
        let account = has_accounts.then(|| Account { name: id.key_id(), password: code.password() });
        let given = grants::Input::GiveCode {
            id,
            code: code.clone(),
            origin: Origin::Owner,
            holder: Holder::Station,
            incarnation: Incarnation(1),
            lease: lease.map(Duration::from),
            quota,
        };
        self.grants.handle_input(given, now);
        self.settle(now);
        if let Some((_, why)) = self.unwritten.first() {
            let refusal = codes_unwritten(why);
            let input = grants::Input::Take { grant: id, incarnation: None, cause: Cause::Owner };
            self.grants.handle_input(input, now);
            return reply.refuse(refusal);
        }
        reply.ok(GrantedCode { id, code, networks, account });
    }

    fn check_code(&self, lease: Option<Millis>, quota: Option<u64>) -> Result<(), Refusal> {
        self.check_code_network()?;
        check_terms(None, lease, quota)?;
        self.grants.check_code()
    }

    /// More for a grant that the owner gave.
    fn top_up(
        &mut self,
        target: Target,
        lease: Option<Millis>,
        quota: Option<u64>,
        now: BootTime,
    ) -> Result<GrantRow, Refusal> {
        let grant = self.meant(target)?;
        let id = grant.id;
        let refuse = |word, why: &str| Err(Refusal::new(word, format!("grant {id}{why}")));
        check_terms(None, lease, quota)?;
        if grant.origin != Origin::Owner {
            return refuse("not-yours", " is the coordinator's, which alone can top it up");
        }
        match (grant.quota, quota) {
            (None, Some(_)) => return refuse("no-limit", " has no quota: its bytes are without limit"),
            (Some(quota), Some(more)) if quota.saturating_add(more) > MOST_BYTES => {
                return refuse("too-many-bytes", &format!(" would have more than {MOST_BYTES} bytes"));
            }
            _ => {}
        }
        if grant.deadline.is_none() && lease.is_some() {
            return refuse("no-end", " has no end: it is for good");
        }
        if (lease, quota) == (None, None) {
            return refuse("nothing", " stays as it is: say how much longer, or how many bytes more");
        }
        let input = grants::Input::TopUp { grant: id, lease: lease.map(Duration::from), quota };
        self.grants.handle_input(input, now);
        self.settle(now);
        let enforced = self.nft.enforced_of(grant.station.into_iter()).unwrap_or_else(|error| {
            tracing::warn!(%error, "figures of a grant");
            BTreeMap::new()
        });
        match self.grants.get(id) {
            Some(grant) => Ok(self.grant_row(grant, &enforced, now)),
            None => Err(Refusal::new("no-grant", format!("grant {id} has just ended"))),
        }
    }

    /// The grant that a request is about.
    fn meant(&self, target: Target) -> Result<Grant, Refusal> {
        let (found, what) = match target {
            Target::Station(station) => {
                (self.grants.of_station(station), format!("station {station} has no grant"))
            }
            Target::Grant(id) => (self.grants.get(id), format!("there is no grant {id}")),
        };
        found.cloned().ok_or_else(|| Refusal::new("no-grant", format!("{what}; see `wayleave grants`")))
    }

    fn evict(&mut self, target: Target, reply: Reply, now: BootTime) {
        let grant = match self.meant(target) {
            Ok(grant) => grant,
            Err(refusal) => return reply.refuse(refusal),
        };
        self.waiting.get_or_insert_with(grant.id, Vec::new).push(reply);
        let input = match target {
            Target::Station(station) => grants::Input::TakeStation { station, cause: Cause::Owner },
            Target::Grant(id) => grants::Input::Take { grant: id, incarnation: None, cause: Cause::Owner },
        };
        self.grants.handle_input(input, now);
    }
}

/// Of a station, or of a code.
fn check_terms(station: Option<MacAddr>, lease: Option<Millis>, quota: Option<u64>) -> Result<(), Refusal> {
    let whose = station.map_or_else(String::new, |station| format!("{station}: "));
    if lease.is_some_and(|lease| lease.0 == 0) {
        let sentence = format!("{whose}a time of 0 grants nothing; leave it out to grant for good");
        return Err(Refusal::new("no-time", sentence));
    }
    if quota == Some(0) {
        let sentence = format!("{whose}a quota of 0 grants nothing; leave it out for no limit");
        return Err(Refusal::new("no-bytes", sentence));
    }
    if quota.is_some_and(|quota| quota > MOST_BYTES) {
        let sentence = format!("{whose}{MOST_BYTES} bytes are the most; leave the quota out for no limit");
        return Err(Refusal::new("too-many-bytes", sentence));
    }
    Ok(())
}

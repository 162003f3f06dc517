//! What stands for `radius/` in a program without RADIUS: nothing.

use std::collections::BTreeMap;

use super::effects::Gateway;
use crate::adapters::nftables::Enforced;
use crate::config::gateway::Settings;
use crate::host::control::Reply;
use crate::host::keep::KeepError;
use crate::logic::grants::{Grant, Grants, Target};
use crate::model::{BootTime, GrantId, MacAddr, Refusal, Secret, Traffic};
use crate::wire::local::Finding;

/// Nobody has one.
pub(super) enum Radius {}

/// Nobody is heard.
pub(super) enum Heard {}

pub(super) async fn next(_: Option<&Radius>) -> Heard {
    std::future::pending().await
}

pub(super) fn findings(_: &Gateway) -> Vec<Finding> {
    Vec::new()
}

pub(super) fn differs(_: &Settings, _: &Settings) -> bool {
    false
}

impl Radius {
    pub fn new(_: &Settings, _: &Grants, _: BootTime) -> Option<Self> {
        None
    }
}

#[allow(clippy::unused_self)]
impl Gateway {
    pub fn radius_grant(&mut self, _: MacAddr, _: String, _: Secret, reply: Reply, _: BootTime) {
        reply.refuse(Refusal::new("no-radius", "this program was built without RADIUS"));
    }

    pub fn radius_begin(&mut self, _: BootTime) {}

    pub fn radius_stands(&mut self, _: BootTime) {}

    pub fn radius_replaced(
        &mut self,
        _: &[Target],
        _: &[(MacAddr, Grant)],
        _: &BTreeMap<MacAddr, Enforced>,
        _: BootTime,
    ) {
    }

    pub fn radius_enforced(&mut self, _: &[(MacAddr, Grant)], _: BootTime) {}

    pub fn radius_ended(&mut self, _: &Target, _: Option<Traffic>, _: BootTime) {}

    pub fn radius_over(&mut self, _: GrantId, _: BootTime) {}

    pub fn radius_turn(&mut self, _: BootTime) -> bool {
        false
    }

    pub fn radius_due(&self) -> Option<BootTime> {
        None
    }

    pub fn radius_timeout(&mut self, _: BootTime) {}

    pub fn radius_heard(&mut self, heard: Heard, _: BootTime) {
        match heard {}
    }

    pub fn radius_save(&mut self) -> Result<(), KeepError> {
        Ok(())
    }

    pub async fn radius_stop(&mut self, _: BootTime) {}
}

//! What stands for `portal/` in a program without it: nothing.

use super::effects::Gateway;
use crate::config::gateway::Settings;
use crate::model::{BootTime, Report};
use crate::wire::local::Finding;

/// There is none.
pub(super) struct Portal;

/// Nobody asks.
pub(super) enum Visit {}

pub(super) fn findings(_: &Gateway) -> Vec<Finding> {
    Vec::new()
}

#[allow(clippy::unused_self)]
impl Portal {
    pub fn new() -> Self {
        Self
    }

    pub async fn next(&mut self) -> Visit {
        std::future::pending().await
    }

    pub fn poll_timeout(&self) -> Option<BootTime> {
        None
    }
}

#[allow(clippy::unused_self)]
impl Gateway {
    pub fn portal_begin(&mut self, _: BootTime) {}

    pub fn portal_reload(&mut self, _: &Settings, _: BootTime) {}

    pub fn portal_listen(&mut self) {}

    pub fn portal_visit(&mut self, visit: Visit, _: u32, _: BootTime) {
        match visit {}
    }

    pub fn portal_over(&mut self, _: &Report, _: BootTime) {}

    pub fn portal_timeout(&mut self, _: BootTime) {}

    pub fn portal_settle(&mut self, _: BootTime) {}
}

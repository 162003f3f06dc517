//! What an owner sells, and what becomes of requests for it.

use serde::{Deserialize, Serialize};

use super::Tariff;
use crate::model::Millis;

/// What an owner answers to a request that a tariff can fulfil.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// An offer, at once.
    #[default]
    Accept,
    /// The owner is asked.
    Ask,
    /// No.
    Refuse,
}

/// One tariff and how requests for it are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// The tariff.
    pub tariff: Tariff,
    /// What becomes of requests.
    pub answer: Answer,
}

/// Everything that an owner sells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shop {
    /// In the order in which they are shown.
    pub sales: Vec<Sale>,
    /// How long offers stand.
    pub valid: Millis,
}

impl Shop {
    /// Whether nothing is sold.
    pub fn is_empty(&self) -> bool {
        self.sales.is_empty()
    }

    /// The tariffs alone.
    pub fn tariffs(&self) -> Vec<Tariff> {
        self.sales.iter().map(|sale| sale.tariff.clone()).collect()
    }
}

//! Selling access: what an owner answers, how one purchase goes, what of it is used where, what vouchers are good for.
//!
//! Read next: [`purchase`], which is drawn there; `docs/trade.md` for people.

pub mod draws;
pub mod policy;
pub mod purchase;
#[cfg(test)]
mod purchase_tests;
#[cfg(feature = "portal")]
pub mod till;
#[cfg(all(test, feature = "portal"))]
mod till_tests;
pub mod vouchers;

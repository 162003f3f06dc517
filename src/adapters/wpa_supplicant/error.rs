//! What can go wrong with wpa_supplicant.

use crate::adapters::wpa_ctrl::CtrlError;

/// Why wpa_supplicant did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SupplicantError {
    /// The control socket; the caller opens it anew.
    #[error("wpa_supplicant")]
    Ctrl(#[from] CtrlError),
    /// What opens the network cannot be handed over: another candidate may fit.
    #[error("this account cannot be used here: {why}")]
    Unusable {
        /// For people.
        why: &'static str,
    },
}

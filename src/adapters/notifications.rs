//! Desktop notifications: `org.freedesktop.Notifications` on the session bus, where there is one.
//!
//! Desktop Notifications Specification 1.3: the summary is plain text, the body may hold markup, so that what would be
//! markup is written as entities.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use zbus::Variant;

/// From the connection to the answer.
const PATIENCE: Duration = Duration::from_secs(5);

const NAME: &str = "org.freedesktop.Notifications";

/// Why nothing was shown.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// There is no session bus, or nobody there who shows anything.
    #[error("the session bus")]
    Bus(#[from] zbus::Error),
    /// No answer came in time.
    #[error("nobody on the session bus answered within {} s", PATIENCE.as_secs())]
    Slow,
}

/// Shows one. `body` is text, whatever characters are in it.
pub async fn notify(summary: &str, body: &str) -> Result<(), NotifyError> {
    let showing = async {
        let bus = zbus::Connection::session().await?;
        let hints: HashMap<&str, Variant<'_>> = HashMap::new();
        let actions: [&str; 0] = [];
        // The application, nothing to replace, no icon, and as long as the desktop likes.
        let notification = ("wayleave", 0_u32, "", summary, escaped(body), &actions[..], hints, -1_i32);
        let path = "/org/freedesktop/Notifications";
        bus.call_method(Some(NAME), path, Some(NAME), "Notify", &notification).await
    };
    timeout(PATIENCE, showing).await.map_err(|_| NotifyError::Slow)??;
    Ok(())
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_shown_and_not_followed() {
        assert_eq!(escaped("<b>a</b> & <img src=x>"), "&lt;b&gt;a&lt;/b&gt; &amp; &lt;img src=x&gt;");
    }
}

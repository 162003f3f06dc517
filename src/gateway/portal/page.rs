//! The pages as HTML: rendered whole, right on a small screen, and working without JavaScript. Pure.
//!
//! Everything that is not written here is escaped ([`Text`]). There is no style and no script in a page: the policy that goes
//! with it allows none but those of `/style.css`, `/theme.css` and `/live.js`.

use std::fmt::{self, Write};

use super::choices::Choice;
use super::words::{self, Words};
use crate::config::portal::Language;
use crate::model::trade::Allowance;

/// Of every page (CSP level 3).
pub(super) const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; \
connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Our style; the owner's comes behind it.
pub(super) const STYLE: &str = include_str!("style.css");

/// Live figures.
pub(super) const SCRIPT: &str = include_str!("live.js");

/// Text that is shown as it is.
pub(super) struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

/// How a station stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody knows who asks.
    Unknown,
    /// It has no access.
    Out {
        /// Something is left of what it had.
        waits: Option<Allowance>,
        /// What it may have for nothing, and what it has had: with how long it waits.
        free: Vec<(Choice, Option<std::time::Duration>)>,
    },
    /// It has access.
    In {
        /// What is left.
        left: Left,
        /// Whether the portal gave it, and so may take it.
        own: bool,
    },
    /// It has used up what it had.
    Spent {
        /// Whether the portal gave it, and so may add to it.
        own: bool,
    },
}

/// What is left, and of how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Bytes; `None`: no limit.
    pub bytes: Option<(u64, u64)>,
    /// Seconds; `None`: no limit.
    pub seconds: Option<(u64, u64)>,
}

/// All that a page shows.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub language: Language,
    pub languages: &'a [Language],
    pub title: &'a str,
    pub notice: &'a str,
    /// What the owner tells those with access; with a link, if there is one.
    pub messages: &'a [(String, Option<String>)],
    pub logo: bool,
    pub theme: bool,
    pub standing: Standing,
    /// What costs.
    pub choices: &'a [Choice],
    /// Why not.
    pub refusal: Option<String>,
    /// Goes with what is posted.
    pub token: &'a str,
}

impl Standing {
    /// One word for the script: another one, and the page is loaded anew.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Unknown => "unknown",
            Standing::Out { .. } => "out",
            Standing::In { .. } => "in",
            Standing::Spent { .. } => "spent",
        }
    }
}

/// The page of a station.
pub(super) fn home(view: &View<'_>) -> String {
    let mut page = Page::begin(view);
    let language = view.language;
    match &view.standing {
        Standing::Unknown => {
            page.say("status", words::UNKNOWN);
            page.line(format_args!(
                "<p><a class=\"button\" href=\"/\">{}</a></p>",
                words::AGAIN.in_(language)
            ));
        }
        Standing::Out { waits, free } => {
            page.say("status", words::NO_ACCESS);
            if let Some(left) = waits {
                page.form("/resume", |page| {
                    let left = words::allowance(*left, language);
                    page.line(format_args!("<p>{} <b>{left}</b></p>", words::WAITS.in_(language)));
                    page.button(words::GO_ON, "");
                });
            }
            for (choice, wait) in free {
                page.free(choice, *wait);
            }
            page.vouchers(words::BUY);
            if waits.is_none() && free.is_empty() && view.choices.is_empty() {
                page.say("hint", words::NOTHING_SOLD);
            }
        }
        Standing::In { left, own } => {
            page.say("status good", words::ACCESS);
            page.left(*left);
            page.messages();
            if *own {
                page.vouchers(words::TOP_UP);
                page.form("/leave", |page| page.button(words::LEAVE, "quiet"));
                page.say("hint", words::LEAVE_HINT);
            }
        }
        Standing::Spent { own } => {
            page.say("status bad", words::SPENT);
            page.messages();
            if *own {
                page.vouchers(words::TOP_UP);
            }
        }
    }
    page.end()
}

/// A page with one sentence.
pub(super) fn sentence(view: &View<'_>, words: Words) -> String {
    let mut page = Page::begin(view);
    page.say("status", words);
    let again = words::AGAIN.in_(view.language);
    page.line(format_args!("<p><a class=\"button\" href=\"/\">{again}</a></p>"));
    page.end()
}

/// What is left as the script wants it: one event (HTML, 9.2), after which the browser asks again.
pub(super) fn event(standing: &Standing, language: Language) -> String {
    let part = |(left, all): (u64, u64)| left.saturating_mul(1000).checked_div(all).unwrap_or(0).min(1000);
    let mut figures = serde_json::json!({ "state": standing.word() });
    if let Standing::In { left, .. } = standing {
        if let Some(bytes) = left.bytes {
            figures["bytes"] = serde_json::json!({ "text": words::bytes(bytes.0), "part": part(bytes) });
        }
        if let Some(seconds) = left.seconds {
            let text = words::time(std::time::Duration::from_secs(seconds.0), language);
            figures["time"] = serde_json::json!({ "text": text, "part": part(seconds) });
        }
    }
    // JSON has no line break of its own.
    format!("retry: 5000\ndata: {figures}\n\n")
}

struct Page<'a> {
    view: &'a View<'a>,
    html: String,
}

impl<'a> Page<'a> {
    fn begin(view: &'a View<'a>) -> Self {
        let mut page = Self { view, html: String::with_capacity(4096) };
        let (language, title) = (view.language, Text(view.title));
        page.line(format_args!(
            "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <link rel=\"stylesheet\" href=\"/style.css\">",
            language.tag()
        ));
        if view.theme {
            page.line(format_args!("<link rel=\"stylesheet\" href=\"/theme.css\">"));
        }
        page.line(format_args!(
            "</head>\n<body data-state=\"{}\" data-language=\"{}\">\n<header>",
            view.standing.word(),
            language.tag()
        ));
        if view.logo {
            page.line(format_args!("<img class=\"logo\" src=\"/logo\" alt=\"\">"));
        }
        page.line(format_args!("<h1>{title}</h1>\n</header>\n<main>"));
        if let Some(refusal) = &view.refusal {
            page.line(format_args!("<p class=\"refusal\" role=\"alert\">{}</p>", Text(refusal)));
        }
        if !view.notice.is_empty() {
            page.line(format_args!("<p class=\"notice\">{}</p>", Text(view.notice)));
        }
        page
    }

    fn end(mut self) -> String {
        self.line(format_args!("</main>\n<footer><nav>"));
        for language in self.view.languages.iter().filter(|language| **language != self.view.language) {
            let name = match language {
                Language::En => "English",
                Language::Zh => "中文",
            };
            let tag = language.tag();
            self.line(format_args!("<a href=\"/?lang={tag}\" lang=\"{tag}\" hreflang=\"{tag}\">{name}</a>"));
        }
        self.line(format_args!(
            "</nav></footer>\n<script src=\"/live.js\" defer></script>\n</body>\n</html>"
        ));
        self.html
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a text does not fail.
        let _ = self.html.write_fmt(text);
        self.html.push('\n');
    }

    fn say(&mut self, class: &str, words: Words) {
        let text = words.in_(self.view.language);
        self.line(format_args!("<p class=\"{class}\">{text}</p>"));
    }

    fn form(&mut self, action: &str, inside: impl FnOnce(&mut Self)) {
        self.line(format_args!("<form method=\"post\" action=\"{action}\">"));
        let (token, language) = (Text(self.view.token), self.view.language.tag());
        self.line(format_args!(
            "<input type=\"hidden\" name=\"token\" value=\"{token}\">\n\
             <input type=\"hidden\" name=\"lang\" value=\"{language}\">"
        ));
        inside(self);
        self.line(format_args!("</form>"));
    }

    fn button(&mut self, words: Words, class: &str) {
        let text = words.in_(self.view.language);
        self.line(format_args!("<button class=\"{class}\">{text}</button>"));
    }

    fn free(&mut self, choice: &Choice, wait: Option<std::time::Duration>) {
        let language = self.view.language;
        match wait {
            Some(wait) => {
                let wait = words::time(wait, language);
                let again = words::FREE_HAD.in_(language);
                self.line(format_args!("<p class=\"hint\">{again} {wait}.</p>"));
            }
            None => self.form("/free", |page| {
                let had = words::allowance(choice.cost.allowance, language);
                let daily = words::FREE_DAILY.in_(language);
                page.line(format_args!(
                    "<p>{had}, {daily}</p>\n<input type=\"hidden\" name=\"choice\" value=\"{}\">",
                    Text(&choice.value())
                ));
                page.button(words::FREE, "");
            }),
        }
    }

    fn vouchers(&mut self, heading: Words) {
        if self.view.choices.is_empty() {
            return;
        }
        let language = self.view.language;
        self.line(format_args!("<h2>{}</h2>", heading.in_(language)));
        self.form("/order", |page| {
            page.line(format_args!("<div class=\"choices\">"));
            for (number, choice) in page.view.choices.iter().enumerate() {
                let checked = if number == 0 { " checked" } else { "" };
                let price = choice.price().map(words::price).unwrap_or_default();
                page.line(format_args!(
                    "<label><input type=\"radio\" name=\"choice\" value=\"{}\"{checked}> <span>{}</span> <b>{price}</b></label>",
                    Text(&choice.value()),
                    words::allowance(choice.cost.allowance, language)
                ));
            }
            let code = words::CODE.in_(language);
            page.line(format_args!(
                "</div>\n<label class=\"code\">{code}\n<input name=\"code\" maxlength=\"40\" autocomplete=\"off\" \
                 autocapitalize=\"none\" spellcheck=\"false\" placeholder=\"abcde-fghij-kmnpq-rstuv\" required></label>"
            ));
            page.button(words::PAY, "");
        });
    }

    fn left(&mut self, left: Left) {
        let language = self.view.language;
        if let Some(bytes) = left.bytes {
            self.bar(words::BYTES_LEFT, "bytes", &words::bytes(bytes.0), bytes);
        }
        if let Some(seconds) = left.seconds {
            let text = words::time(std::time::Duration::from_secs(seconds.0), language);
            self.bar(words::TIME_LEFT, "time", &text, seconds);
        }
        if left == Left::default() {
            self.line(format_args!(
                "<p>{}: <b>{}</b></p>",
                words::BYTES_LEFT.in_(language),
                words::NO_LIMIT.in_(language)
            ));
        }
    }

    fn bar(&mut self, what: Words, id: &str, text: &str, (left, all): (u64, u64)) {
        let what = what.in_(self.view.language);
        let part = left.saturating_mul(1000).checked_div(all).unwrap_or(0).min(1000);
        self.line(format_args!(
            "<p class=\"left\">{what}: <b id=\"{id}\">{text}</b>\n\
             <progress id=\"{id}-bar\" max=\"1000\" value=\"{part}\">{text}</progress></p>"
        ));
    }

    fn messages(&mut self) {
        let view = self.view;
        if view.messages.is_empty() {
            return;
        }
        self.line(format_args!("<h2>{}</h2>\n<ul class=\"messages\">", words::MESSAGES.in_(view.language)));
        for (text, link) in view.messages {
            match link {
                Some(link) => self.line(format_args!(
                    "<li>{} <a href=\"{}\" rel=\"noreferrer\">{}</a></li>",
                    Text(text),
                    Text(link),
                    Text(link)
                )),
                None => self.line(format_args!("<li>{}</li>", Text(text))),
            }
        }
        self.line(format_args!("</ul>"));
    }
}

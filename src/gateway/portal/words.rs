//! What the pages say, in each language. Pure.

use std::time::Duration;

use crate::config::portal::Language;
use crate::model::Refusal;
use crate::model::trade::{Allowance, Money};

/// A text in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words(pub &'static str, pub &'static str);

impl Words {
    /// In one of them.
    pub fn in_(self, language: Language) -> &'static str {
        match language {
            Language::En => self.0,
            Language::Zh => self.1,
        }
    }
}

pub(super) const NO_ACCESS: Words = Words("You are not on the internet yet.", "您还没有接入互联网。");
pub(super) const ACCESS: Words = Words("You are on the internet.", "您已接入互联网。");
pub(super) const SPENT: Words = Words(
    "What you had is used up. Add more and you go on at once.",
    "您的流量已用完。充值后可立即继续使用。",
);
pub(super) const WAITS: Words = Words("You have something left.", "您还有剩余。");
pub(super) const GO_ON: Words = Words("Continue", "继续使用");
pub(super) const FREE: Words = Words("Continue for free", "免费上网");
pub(super) const FREE_DAILY: Words = Words("once a day", "每天一次");
pub(super) const FREE_HAD: Words = Words("Free access again in", "再次免费上网需等待");
pub(super) const BUY: Words = Words("With a voucher", "使用兑换码");
pub(super) const TOP_UP: Words = Words("Add more", "充值");
pub(super) const CODE: Words = Words("Code of the voucher", "兑换码");
pub(super) const PAY: Words = Words("Use the voucher", "兑换");
pub(super) const LEAVE: Words = Words("Leave", "断开");
pub(super) const LEAVE_HINT: Words =
    Words("What you paid for and did not use waits for you here.", "已付费而未用完的部分会为您保留。");
pub(super) const BYTES_LEFT: Words = Words("Data left", "剩余流量");
pub(super) const TIME_LEFT: Words = Words("Time left", "剩余时间");
pub(super) const NO_LIMIT: Words = Words("without a limit", "不限");
pub(super) const MESSAGES: Words = Words("From the owner", "店主消息");
pub(super) const UNKNOWN: Words =
    Words("Your device is not known here yet. Try again.", "尚未识别您的设备，请重试。");
pub(super) const AGAIN: Words = Words("Try again", "重试");
pub(super) const NOT_FOUND: Words = Words("There is no such page.", "没有这个页面。");
pub(super) const STALE: Words =
    Words("This page was too old, nothing was done. Try again.", "页面已过期，未做任何操作，请重试。");
pub(super) const NOTHING_SOLD: Words =
    Words("Ask the owner of this network for access.", "请向本网络的店主申请上网。");
const FAILED: Words = Words("That did not work.", "操作未成功。");

/// What people are told of a refusal; English has the sentence with its numbers.
pub(super) fn refused(refusal: &Refusal, language: Language) -> String {
    let zh = match refusal.word.as_str() {
        "no-code" => "请输入兑换码。",
        "voucher-mistyped" => "兑换码有误，请检查后重新输入。",
        "voucher-unknown" => "没有这个兑换码。",
        "voucher-locked" => "错误次数过多，请稍后再试。",
        "voucher-expired" => "该兑换码已过期。",
        "voucher-short" => "该兑换码余额不足。",
        "free-had" => "今天的免费额度已经用过。",
        "free-busy" => "当前请求过多，请一分钟后再试。",
        "has-access" => "您已经可以上网。",
        "other-kind" => "现有套餐的计费方式不同，请先用完，或购买同一种套餐。",
        "price-changed" => "价格已变更，请重新确认。",
        "tariff-full" => "该套餐的设备数量已满。",
        "not-sold" | "unknown-tariff" | "owner" => "该套餐目前不出售。",
        "nothing-left" => "没有剩余可继续使用。",
        "not-kept" | "kernel-refused" => "暂时无法办理，未扣款，请稍后再试。",
        _ => FAILED.1,
    };
    match language {
        Language::Zh => zh.to_owned(),
        Language::En => {
            let mut sentence = refusal.shown().sentence;
            if let Some(first) = sentence.get(..1) {
                sentence = first.to_uppercase() + &sentence[1..];
            }
            if sentence.is_empty() { FAILED.0.to_owned() } else { sentence + "." }
        }
    }
}

/// `1.5 GB`
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut unit, mut scale) = (0, 1_u64);
    while unit + 1 < UNITS.len() && bytes / scale >= 1000 {
        unit += 1;
        scale *= 1000;
    }
    let tenths = (bytes / (scale / 10).max(1)) % 10;
    match bytes / scale {
        whole if unit == 0 || whole >= 100 || tenths == 0 => format!("{whole} {}", UNITS[unit]),
        whole => format!("{whole}.{tenths} {}", UNITS[unit]),
    }
}

/// `1 h 30 min`; what is left of a minute counts as one.
pub(super) fn time(time: Duration, language: Language) -> String {
    let minutes = time.as_secs().div_ceil(60);
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    let [day, hour, minute] = match language {
        Language::En => [" d", " h", " min"],
        Language::Zh => [" 天", " 小时", " 分钟"],
    };
    let parts = [(days, day), (hours, hour), (minutes, minute)];
    let shown: Vec<String> = parts
        .iter()
        .filter(|(amount, _)| *amount > 0)
        .take(2)
        .map(|(amount, unit)| format!("{amount}{unit}"))
        .collect();
    if shown.is_empty() { format!("0{minute}") } else { shown.join(" ") }
}

/// `1 GB, 1 d`
pub(super) fn allowance(allowance: Allowance, language: Language) -> String {
    let had: Vec<String> = allowance
        .bytes
        .map(bytes)
        .into_iter()
        .chain(allowance.time.map(|had| time(had.into(), language)))
        .collect();
    if had.is_empty() { NO_LIMIT.in_(language).to_owned() } else { had.join(", ") }
}

/// `1.50 EUR`
pub(super) fn price(price: Money) -> String {
    price.to_string()
}

/// The language that somebody wants: of what they chose, or what their browser asks for (RFC 9110, 12.5.4).
pub(super) fn chosen(asked: Option<&str>, accepts: &str, spoken: &[Language]) -> Language {
    let by_tag = |tag: &str| {
        let primary = tag.trim().split(['-', '_']).next().unwrap_or_default();
        spoken.iter().copied().find(|language| language.tag().eq_ignore_ascii_case(primary))
    };
    if let Some(language) = asked.and_then(by_tag) {
        return language;
    }
    let mut best: Option<(u16, Language)> = None;
    for range in accepts.split(',').take(16) {
        let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.parse::<f32>().ok());
        let weight = weight.filter(|weight| (0.0..=1.0).contains(weight)).map_or(0, |w| (w * 1000.0) as u16);
        if let Some(language) = by_tag(tag).filter(|_| weight > 0)
            && best.is_none_or(|(least, _)| weight > least)
        {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language).or(spoken.first().copied()).unwrap_or(Language::En)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Language::{En, Zh};

    #[test]
    fn amounts_are_short() {
        for (amount, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1 kB"),
            (1_550_000, "1.5 MB"),
            (50_000_000, "50 MB"),
            (123_456_789, "123 MB"),
            (5_000_000_000, "5 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(amount), shown);
        }
        for (seconds, shown) in [
            (0, "0 min"),
            (1, "1 min"),
            (60, "1 min"),
            (5_400, "1 h 30 min"),
            (90_061, "1 d 1 h"),
            (86_400, "1 d"),
        ] {
            assert_eq!(time(Duration::from_secs(seconds), En), shown);
        }
        assert_eq!(time(Duration::from_secs(5_400), Zh), "1 小时 30 分钟");
    }

    #[test]
    fn a_language_is_what_was_chosen_else_what_is_asked_for_else_the_first() {
        let both = [En, Zh];
        for (asked, accepts, found) in [
            (None, "", En),
            (None, "zh-CN,zh;q=0.9,en;q=0.8", Zh),
            (None, "de, zh;q=0.3, en;q=0.2", Zh),
            (None, "en;q=0, zh;q=0.1", Zh),
            (None, "en;q=x, fr", En),
            (Some("en"), "zh", En),
            (Some("zh-TW"), "en", Zh),
            (Some("<b>"), "zh", Zh),
            (None, "\u{fffd},;;q=,,", En),
        ] {
            assert_eq!(chosen(asked, accepts, &both), found, "{asked:?} {accepts:?}");
        }
        assert_eq!(chosen(Some("en"), "en", &[Zh]), Zh);
    }

    #[test]
    fn a_refusal_is_a_sentence() {
        let refusal = Refusal::new("voucher-short", "1 EUR are left on this voucher, and 2 EUR are asked");
        assert_eq!(refused(&refusal, En), "1 EUR are left on this voucher, and 2 EUR are asked.");
        assert_eq!(refused(&refusal, Zh), "该兑换码余额不足。");
        assert_eq!(refused(&Refusal::new("x", ""), En), FAILED.0);
        assert_eq!(refused(&Refusal::new("x", "ähnlich"), En), "ähnlich.");
    }
}

//! Times and sizes as people write and read them.

use std::time::Duration;

use crate::model::Millis;

const TIMES: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// Decimal as on a bill (IEC 80000-13), binary where it says so.
const SIZES: [(&str, u64); 11] = [
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kiB", 1 << 10),
];

/// `90s`, `15m`, `2h`, `7d`: a whole number above 0, and a unit.
pub fn parse_time(text: &str) -> Result<Millis, String> {
    let wrong = || "write a whole number above 0 and s, m, h or d: 90s, 15m, 2h, 7d".to_owned();
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let (_, seconds) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = number.checked_mul(*seconds).and_then(|seconds| seconds.checked_mul(1000));
    millis.filter(|millis| *millis > 0).map(Millis).ok_or_else(wrong)
}

/// `90`: seconds; or as [`parse_time`].
pub fn parse_seconds(text: &str) -> Result<Millis, String> {
    let with_unit = if text.bytes().all(|byte| byte.is_ascii_digit()) { &format!("{text}s") } else { text };
    parse_time(with_unit).map_err(|_| "write seconds, or a time as 90s, 15m, 2h, 7d; more than 0".to_owned())
}

/// `500MB`, `1.5GB`, `2GiB`: bytes, more than 0.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || {
        "write a number above 0 and B, KB, MB, GB, TB (1000) or KiB, MiB, GiB, TiB (1024): 500MB, 1.5GB"
            .to_owned()
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let (_, unit) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 9 {
        return Err(wrong());
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let fraction: u64 = fraction.parse().map_err(|_| wrong())?;
    let bytes = u128::from(whole) * u128::from(*unit) + u128::from(fraction) * u128::from(*unit) / scale;
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// A number that begins with a digit, and the rest.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.')?;
    text.starts_with(|char: char| char.is_ascii_digit()).then(|| text.split_at(end))
}

/// `1.2 GB`; decimal.
pub fn bytes(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut unit = 1000;
    for name in ["kB", "MB", "GB", "TB", "PB"] {
        // Tenths, rounded: 999 950 is 1.0 MB and not 1000.0 kB.
        let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
        if tenths < 10_000 {
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        unit *= 1000;
    }
    format!("{} EB", bytes / 1_000_000_000_000_000_000)
}

/// `3 h 20 min`: the two largest units, cut off below.
pub fn time(time: Millis) -> String {
    let seconds = time.0 / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let two = |large: u64, unit: &str, small: u64, below: &str| {
        if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {below}") }
    };
    match seconds {
        0 => format!("{} ms", time.0),
        1..60 => format!("{seconds} s"),
        60..3600 => two(minutes, "min", seconds % 60, "s"),
        3600..86_400 => two(hours, "h", minutes, "min"),
        _ => two(days, "d", hours, "h"),
    }
}

/// How long a step took: `0.42 ms`.
pub fn took(micros: u64) -> String {
    let took = Duration::from_micros(micros);
    if micros < 1_000_000 {
        format!("{:.2} ms", took.as_secs_f64() * 1000.0)
    } else {
        format!("{:.2} s", took.as_secs_f64())
    }
}

/// Whose grant it is: a station's address, or nobody's yet.
#[cfg(feature = "gateway")]
pub fn station(station: Option<crate::model::MacAddr>) -> String {
    station.map_or_else(|| "nobody".to_owned(), |station| station.to_string())
}

/// `1 flow`, `2 flows`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_what_is_none_is_told_how() {
        for (text, millis) in
            [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("7d", 604_800_000), ("01s", 1000)]
        {
            assert_eq!(parse_time(text), Ok(Millis(millis)), "{text}");
        }
        for text in [
            "",
            "2",
            "h",
            "0s",
            "-1h",
            "+1h",
            "1.5h",
            "2 h",
            "2H",
            "2hours",
            "1h30m",
            "18446744073709551615d",
            "99999999999999999999s",
            "२h",
            " 2h",
            "2h\n",
        ] {
            assert!(parse_time(text).unwrap_err().contains("90s, 15m, 2h, 7d"), "{text:?}");
        }
    }

    #[test]
    fn seconds_need_no_unit() {
        for (text, millis) in [("90", 90_000), ("15m", 900_000)] {
            assert_eq!(parse_seconds(text), Ok(Millis(millis)), "{text}");
        }
        for text in ["", "0", "x", "-1", "18446744073709551615"] {
            assert!(parse_seconds(text).unwrap_err().contains("seconds"), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_and_what_is_none_is_told_how() {
        for (text, bytes) in [
            ("1B", 1),
            ("500MB", 500_000_000),
            ("1.5GB", 1_500_000_000),
            ("2KiB", 2048),
            ("2kB", 2000),
            ("2KB", 2000),
            ("0.5MiB", 524_288),
            ("1GiB", 1 << 30),
            ("18446744073709551615B", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "500",
            "MB",
            "0MB",
            "0.0001B",
            "-1MB",
            "1,5GB",
            "1.GB",
            ".5GB",
            "1.2.3GB",
            "500 MB",
            "500Mb",
            "500M",
            "1.0000000001GB",
            "18446744073709551616B",
            "99999999TB",
            "5MB ",
        ] {
            assert!(parse_size(text).unwrap_err().contains("500MB, 1.5GB"), "{text:?}");
        }
    }

    #[test]
    fn figures_are_short_and_never_overflow() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_234_567_890, "1.2 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (millis, text) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (45_999, "45 s"),
            (60_000, "1 min"),
            (90_000, "1 min 30 s"),
            (12_000_000, "3 h 20 min"),
            (86_400_000, "1 d"),
            (187_200_000, "2 d 4 h"),
            (u64::MAX, "213503982334 d 14 h"),
        ] {
            assert_eq!(time(Millis(millis)), text);
        }
        for (micros, text) in [(0, "0.00 ms"), (420, "0.42 ms"), (12_345, "12.35 ms"), (1_500_000, "1.50 s")]
        {
            assert_eq!(took(micros), text);
        }
    }
}

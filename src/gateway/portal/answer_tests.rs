//! Which request is whose, and what nobody may pretend.

use std::collections::BTreeMap;

use super::*;

fn request(method: &str, path: &str, headers: &[(&'static str, &str)]) -> Request {
    let headers: BTreeMap<_, _> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Request { method: method.into(), path: path.into(), headers, ..Request::default() }
}

#[test]
fn only_our_own_names_are_ours() {
    let own: [IpAddr; 2] = ["10.77.0.1".parse().unwrap(), "fd77::1".parse().unwrap()];
    for (host, ours) in [
        ("10.77.0.1:2080", true),
        ("10.77.0.1", true),
        ("[fd77::1]:2080", true),
        ("[fd77::1]", true),
        ("portal.example", true),
        ("Portal.Example:2443", true),
        ("10.77.0.2", false),
        ("connectivitycheck.gstatic.com", false),
        ("portal.example.evil.example", false),
        ("evil.example", false),
        ("", false),
        ("[", false),
        ("10.77.0.1:x", false),
        ("portal.example:80@evil", false),
        ("\u{fffd}", false),
    ] {
        assert_eq!(names_us(host, "portal.example", &own), ours, "{host}");
    }
    assert!(!names_us("", "", &own), "without a name nobody has it");
}

#[test]
fn a_form_of_another_site_is_none() {
    let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    let host = ("host", "10.77.0.1:2080");
    for (headers, same) in [
        (vec![form, host], true),
        (vec![form, host, ("origin", "http://10.77.0.1:2080")], true),
        (vec![form, host, ("sec-fetch-site", "same-origin")], true),
        (vec![form, host, ("origin", "http://evil.example")], false),
        (vec![form, host, ("origin", "https://10.77.0.1:2080")], false),
        (vec![form, host, ("origin", "null")], false),
        (vec![form, host, ("sec-fetch-site", "cross-site")], false),
        (vec![form, host, ("sec-fetch-site", "same-site")], false),
        (vec![host], false),
        (vec![host, ("content-type", "text/plain")], false),
    ] {
        assert_eq!(is_same_site(&request("POST", "/leave", &headers)), same, "{headers:?}");
    }
}

#[test]
fn every_path_has_its_method() {
    for (method, path, found) in [
        ("GET", "/", Route::Home),
        ("HEAD", "/", Route::Home),
        ("POST", "/", Route::WrongMethod),
        ("GET", "/order", Route::WrongMethod),
        ("POST", "/order", Route::Order),
        ("POST", "/leave", Route::Leave),
        ("GET", API, Route::Api),
        ("GET", "/generate_204", Route::NotFound),
        ("DELETE", "/live", Route::WrongMethod),
    ] {
        assert_eq!(route(&request(method, path, &[]), true), found, "{method} {path}");
        assert_eq!(route(&request(method, path, &[]), false), Route::Elsewhere);
    }
}

#[test]
fn a_cookie_is_found_among_others() {
    assert_eq!(cookie("a=b; lang=zh", "lang"), Some("zh"));
    assert_eq!(cookie("xlang=zh;lang=", "lang"), Some(""));
    assert_eq!(cookie("langs=zh", "lang"), None);
}

#[test]
fn a_picture_is_what_its_octets_say() {
    for (octets, kind) in [
        (b"\x89PNG\r\n".as_slice(), "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"<svg", "image/svg+xml"),
        (b"", "image/svg+xml"),
    ] {
        assert_eq!(picture(octets), kind);
    }
}

//! docs/security.md names the tests that hold each promise. Here: those tests are there.

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_a_promise_names_is_there() {
    let promises = fs::read_to_string("docs/security.md").expect("the promises");
    let mut code = String::new();
    for room in ["src", "tests"] {
        gather(Path::new(room), &mut code);
    }
    let names: Vec<&str> = promises.split('`').skip(1).step_by(2).filter(|word| is_test_name(word)).collect();
    let missing: Vec<&&str> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(names.len() > 5, "the promises name {} tests: is this still how they are written?", names.len());
    assert!(missing.is_empty(), "docs/security.md names tests that are not there: {missing:?}");
}

/// Test names are sentences: words joined by underscores.
fn is_test_name(word: &str) -> bool {
    word.matches('_').count() >= 2
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn gather(dir: &Path, code: &mut String) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            gather(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).expect("a source file"));
        }
    }
}

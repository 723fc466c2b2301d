//! Tests of the configuration: the files in `config/`, every problem with its whole text, and bytes
//! that mean harm.

mod daemon;
mod files;
mod hostile;
mod pools;
mod problems;
mod routes;
mod sections;

use super::{Config, Problem, parse};

/// The smallest valid parts; tests put theirs in the place of one of them.
const LISTENERS: &str = "listeners: [{address: \"127.0.0.1:0\"}]\n";
const POOLS: &str = "pools: {web: {health: {http: /up}}}\n";
const ROUTES: &str = "routes: [{pool: web}]\n";

/// The problems of a file, as `path: text`.
fn problems(text: &str) -> Vec<String> {
    let problems = parse(text.as_bytes(), "proxy.yaml").unwrap_err();
    assert_eq!(problems.total, problems.problems.len());
    problems.problems.iter().map(Problem::to_string).collect()
}

/// A file with these sections before the required ones that work.
fn with(text: &str) -> String {
    format!("{text}\n{LISTENERS}{POOLS}{ROUTES}")
}

/// A file with one pool of these keys.
fn with_pool(text: &str) -> String {
    format!("{LISTENERS}pools: {{web: {{{text}}}}}\n{ROUTES}")
}

/// A file with one pool with these backends.
fn with_backends(text: &str) -> String {
    with_pool(&format!("backends: [{text}], health: {{tcp: true}}"))
}

/// A file with these routes.
fn with_routes(text: &str) -> String {
    format!("{LISTENERS}{POOLS}routes: [{text}]\n")
}

fn config(text: &str) -> Config {
    match parse(text.as_bytes(), "proxy.yaml") {
        Ok(config) => config,
        Err(problems) => panic!("{problems}\n{text}"),
    }
}

/// Holds one file against the whole text of its problems.
fn assert_problems(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected, "{text}");
}

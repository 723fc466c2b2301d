//! House rules: the arrows between modules go down only, and some names have one home.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who may use whom. `main` and `lib` are not modules of this table.
const ARROWS: [(&str, &[&str]); 18] = [
    ("events", &[]),
    ("spec", &[]),
    ("outcome", &[]),
    ("shutdown", &[]),
    ("report", &["outcome"]),
    ("backend", &["events", "spec"]),
    ("pool", &["backend", "spec"]),
    ("drain", &["backend", "pool", "spec"]),
    ("rollout", &["backend", "drain", "pool", "spec"]),
    ("health", &["backend", "events", "spec"]),
    (
        "control",
        &[
            "backend", "drain", "events", "outcome", "pool", "report", "rollout", "spec",
        ],
    ),
    ("state", &["backend", "control", "pool", "spec"]),
    ("metrics", &["backend", "events", "pool", "spec"]),
    ("config", &["spec"]),
    ("proxy", &["backend", "metrics", "pool", "shutdown", "spec"]),
    (
        "admin",
        &[
            "config", "control", "events", "outcome", "pool", "report", "spec",
        ],
    ),
    (
        "server",
        &[
            "admin", "backend", "config", "control", "events", "health", "metrics", "outcome",
            "pool", "proxy", "report", "shutdown", "spec", "state",
        ],
    ),
    (
        "cli",
        &[
            "admin", "config", "control", "outcome", "pool", "report", "server", "spec",
        ],
    ),
];

/// Names of crates and things that only some modules may say.
const HOMES: [(&str, &[&str]); 9] = [
    ("pingora", &["proxy", "server"]),
    ("httparse", &["proxy"]),
    ("unsafe {", &["proxy"]),
    ("prometheus::", &["metrics"]),
    ("serde_yaml", &["config"]),
    ("axum", &["admin"]),
    ("hyper::", &["admin", "health"]),
    ("println!", &["cli", "main"]),
    ("process::exit", &["cli", "main"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Code of each module without comments and tests, with the files it came from.
fn modules() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        if inside
            .components()
            .any(|part| part.as_os_str().to_string_lossy().contains("tests"))
        {
            continue;
        }
        let first = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        let module = first.trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: Vec<&str> = lines.collect();
        *modules.entry(module).or_default() += &code.join("\n");
    }
    modules
}

#[test]
fn arrows_go_down_only() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut wrong = Vec::new();
    let modules = modules();
    for (module, code) in &modules {
        if module == "main" || module == "lib" {
            continue;
        }
        let allowed = allowed.get(module.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("{module} is not in the table of arrows"));
        let used: BTreeSet<&str> = code
            .split("crate::")
            .skip(1)
            .map(|rest| {
                rest.split(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .next()
                    .unwrap()
            })
            .filter(|name| modules.contains_key(*name))
            .collect();
        for name in used {
            if name != module && !allowed.contains(&name) {
                wrong.push(format!("{module} -> {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that do not go down: {wrong:?}");
}

#[test]
fn the_table_of_arrows_has_no_circle() {
    let mut rank: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, (module, uses)) in ARROWS.iter().enumerate() {
        for used in *uses {
            assert!(
                rank.contains_key(used),
                "{module} uses {used}, which stands below it"
            );
        }
        rank.insert(module, at);
    }
}

#[test]
fn names_have_their_homes() {
    for (module, code) in modules() {
        for (name, homes) in HOMES {
            let is_said = code.contains(name);
            assert!(
                !is_said || homes.contains(&module.as_str()),
                "{module} says {name}"
            );
        }
    }
}

#[test]
fn the_modules_that_decide_know_no_protocol() {
    let modules = modules();
    for module in [
        "backend", "pool", "drain", "control", "events", "spec", "report",
    ] {
        for name in [
            "pingora",
            "axum",
            "hyper",
            "http::",
            "serde_yaml",
            "prometheus",
        ] {
            assert!(!modules[module].contains(name), "{module} says {name}");
        }
    }
}

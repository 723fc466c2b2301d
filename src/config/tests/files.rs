//! The files in `config/`, and reading from files at all.

use std::fs;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use super::super::keys::SECTIONS;
use super::super::settings::SHUTDOWN_TIMEOUT;
use super::super::{AdminConfig, CONFIG_BYTES_MAX, Config, LogConfig, load};
use crate::spec::{Balance, RolloutSpec, Statuses, TimeoutSpec, Weight};
use crate::spec::{ClientSpec, DrainSpec, HealthSpec, HoldSpec, HostPattern, ProbeKind};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name)
}

fn loaded(name: &str) -> Config {
    match load(&path(name)) {
        Ok(config) => config,
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn minimal_yaml_is_two_backends_on_loopback() {
    let config = loaded("minimal.yaml");
    assert_eq!(config.admin.socket, Path::new("/tmp/tidegate-admin.sock"));
    assert_eq!(config.listeners, ["127.0.0.1:8080".parse().unwrap()]);
    assert!(config.metrics.is_none() && config.state.is_none());
    let [pool] = &config.topology.pools[..] else {
        panic!("{config:?}")
    };
    let addresses: Vec<String> = pool
        .backends
        .iter()
        .map(|b| b.address.to_string())
        .collect();
    assert_eq!(addresses, ["127.0.0.1:8081", "127.0.0.1:8082"]);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn tidegate_yaml_has_every_value_at_its_default() {
    let config = loaded("tidegate.yaml");
    let AdminConfig { socket, .. } = AdminConfig::default();
    assert_eq!(config.admin.socket, socket);
    assert_eq!(config.log, LogConfig::default());
    assert_eq!(config.shutdown_timeout, SHUTDOWN_TIMEOUT);
    assert_eq!(config.client, ClientSpec::default());
    assert_eq!(config.topology.pools.len(), 2);
    for pool in &config.topology.pools {
        let settings = &pool.settings;
        assert_eq!(settings.balance, Balance::default());
        assert_eq!(
            settings.health,
            HealthSpec::new(settings.health.kind.clone())
        );
        if let ProbeKind::Http { statuses, .. } = &settings.health.kind {
            assert_eq!(*statuses, Statuses::default());
        }
        assert_eq!(settings.drain, DrainSpec::default());
        assert_eq!(settings.hold, HoldSpec::default());
        assert_eq!(settings.timeouts, TimeoutSpec::default());
        // That one is an example.
        let sticky = settings.rollout.sticky.clone();
        let rollout = RolloutSpec::default();
        assert_eq!(settings.rollout, RolloutSpec { sticky, ..rollout });
        for backend in &pool.backends {
            assert_eq!(backend.weight, Weight::default());
        }
    }
    let hosts: Vec<&HostPattern> = config.topology.routes.iter().map(|r| &r.host).collect();
    assert_eq!(
        hosts,
        [
            &HostPattern::Exact("app.example.com".into()),
            &HostPattern::Any
        ]
    );
    assert_eq!(config.warnings, Vec::<String>::new());
}

/// All values at a path such as `pools.*.backends[]`.
fn select<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let name = step.trim_end_matches("[]");
        found = match name {
            "*" => found
                .iter()
                .flat_map(|v| v.as_mapping().unwrap().values())
                .collect(),
            name => found.iter().filter_map(|v| v.get(name)).collect(),
        };
        if step.ends_with("[]") {
            found = found
                .iter()
                .flat_map(|v| v.as_sequence().unwrap())
                .collect();
        }
    }
    found
}

#[test]
fn tidegate_yaml_has_every_known_key_with_a_comment() {
    let text = fs::read_to_string(path("tidegate.yaml")).unwrap();
    let root: Value = serde_yaml::from_str(&text).unwrap();
    for (section, keys) in SECTIONS {
        for key in *keys {
            let has_key = select(&root, section).iter().any(|v| v.get(key).is_some());
            assert!(has_key, "{section}.{key} is missing");
        }
    }
    // A line with a value is explained on it, or is one of the short second examples.
    for line in text
        .lines()
        .filter(|line| line.contains(": ") && !line.trim().starts_with('#'))
    {
        assert!(
            line.contains(" # ") || line.contains('{'),
            "no comment: {line}"
        );
    }
}

#[test]
fn the_readme_has_every_known_key() {
    let text = fs::read_to_string(path("README.md")).unwrap();
    for (section, keys) in SECTIONS {
        let section = section
            .trim_start_matches("pools.*")
            .trim_start_matches('.');
        let prefix = if section.is_empty() {
            String::new()
        } else {
            format!("{section}.")
        };
        for key in *keys {
            let full = format!("{prefix}{key}");
            let has_key = [
                format!("`{full}`"),
                format!("`{full}."),
                format!("`{full}[]"),
            ]
            .iter()
            .any(|spelled| text.contains(spelled))
                || full == "pools";
            assert!(has_key, "{full} is missing");
        }
    }
}

fn problem(path: &Path) -> String {
    let problems = load(path).unwrap_err();
    problems
        .to_string()
        .replace(&path.display().to_string(), "FILE")
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        problem(&folder.path().join("none.yaml")),
        "FILE has 1 problem\n  does not exist (expected a YAML file)"
    );
    assert_eq!(
        problem(folder.path()),
        "FILE has 1 problem\n  is a directory (expected a YAML file)"
    );
    let below = folder.path().join("file");
    fs::write(&below, "").unwrap();
    assert_eq!(
        problem(&below.join("x.yaml")),
        "FILE has 1 problem\n  cannot be read: Not a directory (os error 20)"
    );
}

#[test]
fn a_file_of_10_mb_is_a_problem_and_not_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("big.yaml");
    let large = "FILE has 1 problem\n  is larger than 1MiB (expected a configuration file)";
    // Not YAML: parsing it would say so.
    fs::write(&file, vec![b'{'; 10_000_000]).unwrap();
    assert_eq!(problem(&file), large);
    let minimal = fs::read(path("minimal.yaml")).unwrap();
    let mut padded = minimal.clone();
    padded.resize(CONFIG_BYTES_MAX, b'\n');
    fs::write(&file, &padded).unwrap();
    assert!(load(&file).is_ok(), "the bound itself is allowed");
    padded.push(b'\n');
    fs::write(&file, &padded).unwrap();
    assert_eq!(problem(&file), large);
}

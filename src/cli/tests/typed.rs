//! What can be typed, and what is sent for it.

use clap::CommandFactory;

use super::*;

#[test]
fn every_verb_asks_its_question() {
    let admin = Scripted::saying(&Answer::new(Outcome::Done, "done"));
    let web = "/v1/pools/web/backends";
    for (typed, heard) in [
        (
            "add web/c 127.0.0.1:1",
            format!(r#"POST {web} {{"address":"127.0.0.1:1","id":"c"}}"#),
        ),
        (
            "add web/c unix:/run/c.sock --standby --weight 7 --wait 2m",
            format!(
                r#"POST {web} {{"address":"unix:/run/c.sock","id":"c","standby":true,"wait":"2m","weight":7}}"#
            ),
        ),
        (
            "add web/c 127.0.0.1:1 --no-wait",
            format!(r#"POST {web} {{"address":"127.0.0.1:1","id":"c","wait":"0s"}}"#),
        ),
        ("drain web/a", format!("POST {web}/a/drain")),
        (
            "drain web/a@7 --no-wait",
            format!("POST {web}/a@7/drain?wait=0s"),
        ),
        (
            "drain web/a --wait 5m --timeout 4m --on-timeout close --idle-timeout 10s --close-after never --spread 0s --force",
            format!(
                "POST {web}/a/drain?wait=5m&timeout=4m&on_timeout=close&idle_timeout=10s&close_after=never&spread=0s&force=true"
            ),
        ),
        (
            "ready web/a --wait 1m",
            format!("POST {web}/a/ready?wait=1m"),
        ),
        (
            "ready web/a --no-wait",
            format!("POST {web}/a/ready?wait=0s"),
        ),
        ("standby web/a", format!("POST {web}/a/standby")),
        (
            "standby web/a --force",
            format!("POST {web}/a/standby?force=true"),
        ),
        (
            "close web/a --wait 1s",
            format!("POST {web}/a/close?wait=1s"),
        ),
        ("remove web/a", format!("DELETE {web}/a")),
        ("remove web/a --force", format!("DELETE {web}/a?force=true")),
        (
            "weight web/a 10",
            format!(r#"PATCH {web}/a {{"weight":10}}"#),
        ),
        (
            "wait web/a --for healthy",
            format!("GET {web}/a?wait_for=healthy"),
        ),
        (
            "wait web/a --for drained --wait 2m",
            format!("GET {web}/a?wait_for=drained&wait=2m"),
        ),
        (
            "drain web/a --min-eligible 2",
            format!("POST {web}/a/drain?min_eligible=2"),
        ),
        (
            "standby web/a --min-eligible 2",
            format!("POST {web}/a/standby?min_eligible=2"),
        ),
        ("pause web", "POST /v1/pools/web/pause".to_owned()),
        (
            "pause web --ttl 2m --wait 30s",
            "POST /v1/pools/web/pause?ttl=2m&wait=30s".to_owned(),
        ),
        (
            "pause web --no-wait",
            "POST /v1/pools/web/pause?wait=0s".to_owned(),
        ),
        ("resume web", "POST /v1/pools/web/resume".to_owned()),
        ("reload", "POST /v1/reload".to_owned()),
    ] {
        let typed: Vec<&str> = typed.split(' ').collect();
        let said = admin.ask(&typed);
        assert_eq!((said.exit, said.err.as_str()), (0, ""), "{typed:?}");
        assert_eq!(admin.heard().last(), Some(&heard), "{typed:?}");
    }
}

#[test]
fn status_asks_for_what_is_named() {
    let admin = Scripted::saying(&Answer::new(Outcome::Unknown, "there is no pool"));
    for (typed, heard) in [
        (&["status"][..], "GET /v1/status"),
        (&["status", "web"], "GET /v1/pools/web"),
        (&["status", "web/a"], "GET /v1/pools/web/backends/a"),
    ] {
        let said = admin.ask(typed);
        let expected = (5, "", "error: there is no pool\n");
        assert_eq!((said.exit, said.out.as_str(), said.err.as_str()), expected);
        assert_eq!(admin.heard().last().unwrap(), heard);
    }
}

#[test]
fn run_and_check_are_the_daemons() {
    assert_eq!(tidegate(&["run", "-c", "four"]).exit, 4);
    assert_eq!(tidegate(&["run", "-c", "four", "--json"]).exit, 54);
    assert_eq!(tidegate(&["check", "-c", "x"]).exit, 100);
    assert_eq!(tidegate(&["check", "-c", "x", "--json"]).exit, 101);
}

#[test]
fn a_token_is_sent_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let file = file.to_str().unwrap();
    let admin = Scripted::saying(&Answer::new(Outcome::Done, "done"));
    assert_eq!(admin.ask(&["--token-file", file, "reload"]).exit, 0);
    assert_eq!(
        admin.heard(),
        ["POST /v1/reload  [Bearer 0123456789abcdef]"]
    );
    let said = tidegate(&["--token-file", "/nonexistent/token", "reload"]);
    assert_eq!(said.exit, 2);
    assert_eq!(
        said.err,
        "error: token file /nonexistent/token: No such file or directory (os error 2)\n"
    );
}

#[test]
fn what_makes_no_sense_is_exit_2_and_nothing_is_sent() {
    let admin = Scripted::saying(&Answer::new(Outcome::Done, "done"));
    let help = "\n\nFor more information, try '--help'.\n";
    for (typed, err) in [
        (
            &["drain", "web/a", "--wait", "5x"][..],
            "error: invalid value '5x' for '--wait <DURATION>': expected a whole number and ms, s, m or h, such as 30s",
        ),
        (
            &["drain", "web/a", "--wait", "25h"],
            "error: invalid value '25h' for '--wait <DURATION>': expected at most 24h",
        ),
        (
            &["drain", "web"],
            "error: invalid value 'web' for '<POOL/ID>': expected POOL/ID, such as web/a",
        ),
        (
            &["add", "web/a@3", "127.0.0.1:1"],
            "error: invalid value 'web/a@3' for '<POOL/ID>': expected a name of 1 to 64 letters, digits, '-', '_' or '.' that begins with a letter or digit",
        ),
        (
            &["add", "web/a", "127.0.0.1"],
            "error: invalid value '127.0.0.1' for '<ADDRESS>': expected host:port, [v6]:port or unix:/path, such as 127.0.0.1:8080",
        ),
        (
            &["events", "--since", "x"],
            "error: invalid value 'x' for '--since <N[@BEGAN]>': expected the number of an event, such as 57 or 57@1790000000000",
        ),
        (
            &["pause", "web", "--ttl", "0s"],
            "error: invalid value '0s' for '--ttl <DURATION>': expected more than 0s, at most 24h",
        ),
        (
            &["pause", "web/a"],
            "error: invalid value 'web/a' for '<POOL>': expected a name of 1 to 64 letters, digits, '-', '_' or '.' that begins with a letter or digit",
        ),
        (
            &["drain", "web/a", "--min-eligible", "0"],
            "error: invalid value '0' for '--min-eligible <N>': expected a number from 1 to 1000",
        ),
        (
            &["weight", "web/a", "0"],
            "error: invalid value '0' for '<N>': expected a weight from 1 to 256 (for no traffic use standby)",
        ),
        (
            &["rollout", "web", "--add", "v2", "--replace", "all"],
            "error: invalid value 'v2' for '--add <ID=ADDRESS>': expected ID=ADDRESS, such as v2=127.0.0.1:8082",
        ),
        (
            &["rollout", "web", "--add", "v2=8082", "--replace", "all"],
            "error: invalid value 'v2=8082' for '--add <ID=ADDRESS>': expected host:port, [v6]:port or unix:/path, such as 127.0.0.1:8080",
        ),
        (
            &["rollout", "web", "--add", "v2=h:1", "--replace", "v1,"],
            "error: invalid value 'v1,' for '--replace <ID[,ID…]|all>': expected a name of 1 to 64 letters, digits, '-', '_' or '.' that begins with a letter or digit",
        ),
        (
            &[
                "rollout",
                "web",
                "--add",
                "v2=h:1",
                "--replace",
                "all",
                "--key",
                "a b",
            ],
            "error: invalid value 'a b' for '--key <KEY>': expected 1 to 128 printable ASCII characters without spaces",
        ),
        (
            &[
                "rollout",
                "web",
                "--add",
                "v2=h:1",
                "--replace",
                "all",
                "--sticky",
                "sid",
            ],
            "error: invalid value 'sid' for '--sticky <header:X|cookie:X>': expected header:NAME or cookie:NAME, such as cookie:session",
        ),
        (
            &[
                "rollout",
                "web",
                "--add",
                "v2=h:1",
                "--replace",
                "all",
                "--min-eligible",
                "0",
            ],
            "error: invalid value '0' for '--min-eligible <N>': 0 is not in 1..=1000",
        ),
        (
            &["canary", "web", "25"],
            "error: invalid value '25' for '<N%>': expected a share from 0% to 100%, such as 10% or 0.5%",
        ),
        (
            &["history", "web", "--limit", "101"],
            "error: invalid value '101' for '--limit <N>': expected a whole number from 1 to 100",
        ),
    ] {
        let said = admin.ask(typed);
        assert_eq!((said.exit, said.out.as_str()), (2, ""), "{typed:?}");
        assert_eq!(said.err, format!("{err}{help}"));
    }
    let missing = admin.ask(&["rollout", "web", "--add", "v2=h:1"]);
    assert_eq!(
        (missing.exit, missing.err.lines().nth(1)),
        (2, Some("  --replace <ID[,ID…]|all>"))
    );
    let both = admin.ask(&["drain", "web/a", "--wait", "1s", "--no-wait"]);
    assert_eq!(both.exit, 2);
    assert!(
        both.err
            .starts_with("error: the argument '--wait <DURATION>' cannot be used with '--no-wait'")
    );
    assert_eq!(admin.heard(), Vec::<String>::new());
}

#[test]
fn with_json_what_makes_no_sense_is_a_document_too() {
    let said = tidegate(&["--json", "drain", "web"]);
    let message = "invalid value 'web' for '<POOL/ID>': expected POOL/ID, such as web/a";
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(document, json!({"outcome": "invalid", "message": message}));
    assert_eq!(said.exit, 2);
    assert!(said.err.starts_with(&format!("error: {message}\n")));
    let said = tidegate(&["--json", "--token-file", "/nonexistent/token", "reload"]);
    let message = "token file /nonexistent/token: No such file or directory (os error 2)";
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(document, json!({"outcome": "invalid", "message": message}));
    assert_eq!((said.exit, said.err), (2, format!("error: {message}\n")));
    // Help is what was asked for: no failure, and no document.
    let said = tidegate(&["--json", "drain", "--help"]);
    assert_eq!((said.exit, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("Take a backend out of rotation"));
}

#[test]
fn each_shell_gets_a_script_that_knows_the_verbs() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = tidegate(&["completions", shell]);
        assert_eq!((said.exit, said.err.as_str()), (0, ""), "{shell}");
        for word in ["rollout", "keep-standby", "completions"] {
            assert!(said.out.contains(word), "{shell}: {word}");
        }
        let document = tidegate(&["completions", shell, "--json"]).out;
        let document: Value = serde_json::from_str(&document).unwrap();
        let expected = json!({"outcome": "done", "shell": shell, "script": said.out});
        assert_eq!(document, expected);
    }
    assert_eq!(tidegate(&["completions", "cmd"]).exit, 2);
}

#[test]
fn bash_can_read_its_script() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.bash");
    std::fs::write(&file, tidegate(&["completions", "bash"]).out).unwrap();
    let mut bash = std::process::Command::new("bash");
    let read = bash.arg("-n").arg(&file).output().unwrap();
    assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
}

#[test]
fn the_tree_is_sound_and_every_verb_has_an_example() {
    let mut tree = Tree::command();
    tree.build();
    tree.clone().debug_assert();
    for verb in tree.get_subcommands() {
        let help = verb.get_after_help().unwrap().to_string();
        let example = format!("  tidegate {} ", verb.get_name());
        let has_example = format!("{help} ").replace('\n', " \n").contains(&example);
        assert!(has_example, "{}: {help}", verb.get_name());
    }
}

#[test]
fn help_says_what_there_is() {
    let help = Tree::command().term_width(100).render_help().to_string();
    assert_eq!(
        help,
        "\
A reverse proxy for zero-downtime deploys: it says when an old instance is safe to kill

Usage: tidegate [OPTIONS] <COMMAND>

Commands:
  run          Run the proxy in the foreground
  check        Say every problem of a configuration file
  status       Show pools and backends: intent, health, what each holds
  add          Add a backend and wait until it is healthy, else it is removed again
  drain        Take a backend out of rotation and wait until it is safe to kill
  ready        Make a backend active: promote a standby, take a draining one back
  standby      Take a backend out of rotation but keep it warm and probed
  close        Cut what a draining or standby backend still holds
  remove       Forget a drained or never used backend
  weight       Set the share of a backend
  wait         Wait until a backend is healthy or drained
  rollout      Move a pool to new backends as one step, or leave it as it was
  canary       Change the share of an open canary
  promote      Give an open canary all of the traffic, then drain the old ones
  rollback     Take back what is under way, or bring back the set before the last rollout
  abort        End a rollout under way the safe way: the old ones serve
  history      Show the rollouts of a pool, the newest first
  pause        Hold the requests of a pool, and wait until none is in flight
  resume       Let the held requests of a paused pool go on, in the order they came
  events       Follow every change: intent, health, drains from begin to end
  reload       Read the configuration file again, all or nothing
  completions  Write the script by which a shell completes what is typed

Options:
  -h, --help     Print help
  -V, --version  Print version

Everywhere:
      --admin <ADMIN>      Where the admin API is: unix:/path, /path or http://host:port [env:
                           TIDEGATE_ADMIN] [default: unix:/run/tidegate/admin.sock]
      --token-file <FILE>  File with the token for http:// [env: TIDEGATE_TOKEN_FILE]
      --json               One JSON document on stdout, words on stderr

Examples:
  tidegate add web/v2 127.0.0.1:8082     add an instance, wait until it is healthy
  tidegate drain web/v1 && kill $PID     take the old one out; exit 0 means safe to kill
  tidegate rollout web --add v2=127.0.0.1:8082 --replace all
                                         or all of it in one, and back if v2 does badly
  tidegate status --watch                see what each holds

Exit codes:
  0  done; for a drain: safe to kill       5  refused, failed, or unknown
  1  unexpected                            6  not yet: the wait is over, it goes on
  2  usage                                 7  forced: something was cut; safe to kill
  3  configuration rejected                8  restored: somebody brought it back
  4  proxy unreachable                     9  not authorised
"
    );
}

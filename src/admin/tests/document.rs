//! The OpenAPI document is the API: every route, method and status.

use std::sync::OnceLock;

use super::*;

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_value(super::super::document()).unwrap())
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    let is_same = |(template, part): (&&str, &&str)| template.starts_with('{') || template == part;
    template.len() == path.len() && template.iter().zip(&path).all(is_same)
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = document()["paths"].as_object().unwrap();
    let (_, item) = paths.iter().find(|(template, _)| matches(template, path))?;
    item.get(method.to_lowercase())
}

/// The answered status is documented, if there is such an operation.
pub(super) fn documents(method: &str, path: &str, status: u16) {
    if let Some(operation) = operation(method, path) {
        let known = &operation["responses"];
        assert!(
            known.get(status.to_string()).is_some(),
            "{method} {path} answered {status}, documented are {known}"
        );
    }
}

#[test]
fn it_lists_every_operation_with_its_options() {
    let mut lines = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array();
            let query = parameters.into_iter().flatten();
            let query: Vec<&str> = query
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let responses = operation["responses"].as_object().unwrap();
            let statuses: Vec<&str> = responses.keys().map(String::as_str).collect();
            let (query, statuses) = (query.join(","), statuses.join(","));
            lines.push(format!("{method} {path} [{query}] {statuses}"));
        }
    }
    lines.sort();
    let backend = "/v1/pools/{pool}/backends/{id}";
    let everywhere = "400,401,403";
    let moves = format!("200,202,{everywhere},404,408,409,413,500,503");
    assert_eq!(
        lines,
        [
            format!("delete {backend} [force] 200,{everywhere},404,408,409,413,500,503"),
            format!("get /openapi.json [] 200,{everywhere},413,500,503"),
            format!("get /v1/events [since,pool,backend] 200,{everywhere},404,413,500,503"),
            format!("get /v1/pools [] 200,{everywhere},413,500,503"),
            format!("get /v1/pools/{{pool}} [] 200,{everywhere},404,413,500,503"),
            format!("get {backend} [wait_for,wait] 200,{everywhere},404,408,409,413,500,503"),
            format!("get /v1/pools/{{pool}}/history [limit] 200,{everywhere},404,413,500,503"),
            format!("get /v1/status [] 200,{everywhere},413,500,503"),
            format!("patch {backend} [] 200,{everywhere},404,409,413,500,503"),
            format!("post /v1/pools/{{pool}}/abort [wait] {moves}"),
            format!(
                "post /v1/pools/{{pool}}/backends [] 200,202,{everywhere},404,408,409,413,500,503"
            ),
            format!("post {backend}/close [wait] 200,202,{everywhere},404,408,409,413,500,503"),
            format!(
                "post {backend}/drain [wait,timeout,on_timeout,idle_timeout,close_after,spread,force,min_eligible] 200,202,{everywhere},404,408,409,413,500,503"
            ),
            format!("post {backend}/ready [wait] 200,202,{everywhere},404,408,409,413,500,503"),
            format!(
                "post {backend}/standby [force,min_eligible] 200,{everywhere},404,409,413,500,503"
            ),
            format!("post /v1/pools/{{pool}}/canary [] 200,{everywhere},404,409,413,500,503"),
            format!(
                "post /v1/pools/{{pool}}/pause [ttl,wait] 200,202,{everywhere},404,408,409,413,500,503"
            ),
            format!("post /v1/pools/{{pool}}/promote [wait] {moves}"),
            format!("post /v1/pools/{{pool}}/resume [] 200,{everywhere},404,413,500,503"),
            format!("post /v1/pools/{{pool}}/rollback [wait,keep_standby,key] {moves}"),
            format!("post /v1/pools/{{pool}}/rollout [] {moves}"),
            format!("post /v1/reload [] 200,{everywhere},409,413,422,500,503"),
        ]
    );
}

#[test]
fn it_is_openapi_3_1_and_every_reference_leads_somewhere() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let text = document.to_string();
    let mut seen = 0;
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (_, operation) in item.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let media = match (status.starts_with('2'), path.as_str()) {
                    (true, "/v1/events") => "text/event-stream",
                    (true, _) => "application/json",
                    (false, _) => "application/problem+json",
                };
                let content = response["content"].as_object();
                let all: Vec<&String> = content.into_iter().flat_map(|c| c.keys()).collect();
                assert!(all.iter().all(|one| *one == media), "{status}: {all:?}");
            }
        }
    }
}

#[test]
fn the_list_of_endings_is_that_of_the_document() {
    let endings = endings();
    let mut listed: Vec<&str> = endings.iter().map(|ending| ending.operation).collect();
    listed.push("openapi");
    listed.sort_unstable();
    let items = document()["paths"].as_object().unwrap().values();
    let operations: Vec<&Value> = items
        .flat_map(|item| item.as_object().unwrap().values())
        .collect();
    let mut documented: Vec<&str> = operations
        .iter()
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    documented.sort_unstable();
    assert_eq!(listed, documented);
    for ending in endings {
        let is_it = |one: &&&Value| one["operationId"] == ending.operation;
        let operation = operations.iter().find(is_it).unwrap();
        for outcome in ending.outcomes {
            let row = outcome.row();
            let response = &operation["responses"][row.status.to_string()];
            assert!(response.is_object(), "{}: {}", ending.operation, row.word);
        }
    }
}

/// Each operation is asked plainly, with what it needs; it must be there and answer as documented,
/// which [`Rig::send`] asserts.
#[tokio::test]
async fn every_operation_of_the_document_is_served() {
    let rig = Rig::new().await;
    let served = rig.call("GET", "/openapi.json").await;
    assert_eq!(served.status, 200);
    assert_eq!(&served.body, document());
    for (path, item) in document()["paths"].as_object().unwrap() {
        let target = path.replace("{pool}", "web").replace("{id}", "a");
        // Without an end of its own: it has tests of its own.
        if path == "/v1/events" {
            continue;
        }
        for method in item.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let target = match target.ends_with("/drain") {
                true => format!("{target}?wait=0"),
                false => target.clone(),
            };
            let body = match (method.as_str(), path.as_str()) {
                ("POST", path) if path.ends_with("/backends") => {
                    r#"{"id":"n","address":"127.0.0.1:9","wait":"0s"}"#
                }
                ("POST", path) if path.ends_with("/rollout") => {
                    r#"{"add":[{"id":"r","address":"127.0.0.1:10"}],"replace":"all","dry_run":true}"#
                }
                ("POST", path) if path.ends_with("/canary") => r#"{"share":"25%"}"#,
                ("PATCH", _) => r#"{"weight":2}"#,
                _ => "",
            };
            let answered = rig.tell(&method, &target, body).await;
            let outcome = answered.body["outcome"].as_str().unwrap_or_default();
            assert!(
                ![405, 500, 400].contains(&answered.status) && outcome != "invalid",
                "{method} {target}: {answered:?}"
            );
        }
    }
}

//! The pages about the API do what they say: their examples are run as they stand, and answered in the shape they show.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::{As, Call, Launch, Scratch, root};

/// One example: lines to run, and the answer that the page shows below them, where it shows one.
struct Example {
    script: String,
    answer: Option<Value>,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut blocks = page.split("\n```");
    blocks.next();
    // What stands between two fences is a block, what follows is text, and so on.
    while let (Some(block), Some(_text)) = (blocks.next(), blocks.next()) {
        match block.split_once('\n') {
            Some(("sh", script)) => examples.push(Example { script: script.into(), answer: None }),
            Some(("json", answer)) => {
                let answer = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
                examples.last_mut().unwrap().answer = Some(answer);
            }
            other => panic!("a block of another kind: {other:?}"),
        }
    }
    examples
}

/// Whether two documents have the same members of the same kinds. A list shows one or all of its items.
fn same_shape(shown: &Value, found: &Value) -> Result<(), String> {
    match (shown, found) {
        (Value::Object(shown), Value::Object(found)) => {
            let keys =
                |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<std::collections::BTreeSet<_>>();
            if keys(shown) != keys(found) {
                return Err(format!("shown are {:?}, found were {:?}", keys(shown), keys(found)));
            }
            shown
                .iter()
                .try_for_each(|(key, shown)| same_shape(shown, &found[key]).map_err(|why| format!("{key}: {why}")))
        }
        (Value::Array(shown), Value::Array(found)) => {
            if shown.is_empty() != found.is_empty() || shown.len() > found.len() {
                return Err(format!("{} items are shown, {} were found", shown.len(), found.len()));
            }
            shown.iter().zip(found).try_for_each(|(shown, found)| same_shape(shown, found))
        }
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, Value::Null) => Ok(()),
        (shown, found) => Err(format!("{shown} is shown, {found} was found")),
    }
}

fn run(page: &str, folder: &std::path::Path) {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let examples = examples(&text);
    let marker = "=====";
    let script: Vec<_> = examples.iter().map(|example| format!("{}\necho; echo {marker}\n", example.script)).collect();
    let ran = Command::new("bash").args(["-euo", "pipefail", "-c", &script.concat()]).current_dir(folder).output();
    let ran = ran.unwrap();
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{page}: {stdout}\n{}", String::from_utf8_lossy(&ran.stderr));
    let outputs: Vec<_> = stdout.split(marker).collect();
    let mut compared = 0;
    for (example, output) in examples.iter().zip(outputs) {
        let Some(shown) = &example.answer else { continue };
        let last = output.trim().lines().next_back().unwrap_or_default();
        let found: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {output}"));
        if let Err(why) = same_shape(shown, &found) {
            panic!("{page}: {why}\n{}\nshows  {shown}\nanswer {found}", example.script);
        }
        // What is the same whenever it runs has to be right as well.
        for field in [
            "code", "err_code", "status", "outcome", "errCode", "type", "title", "total", "count", "openapi", "version",
        ] {
            assert_eq!(shown.get(field), found.get(field), "{page}: `{field}` of\n{}", example.script);
        }
        compared += 1;
    }
    assert!(compared >= 5, "{page}: only {compared} answers were compared");
}

#[tokio::test]
async fn every_call_has_an_example_that_works() {
    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.path().join("largesse-data")).ready().await;
    run("docs/api.md", scratch.path());
    let text = fs::read_to_string(root().join("docs/api.md")).unwrap();
    let station = fs::read_to_string(root().join("docs/station.md")).unwrap();
    for who in [As::Nobody, As::Admin] {
        let api = server.client.call(Call::get(who, "/openapi.json")).await.ok();
        for (path, item) in api["paths"].as_object().unwrap() {
            for verb in item.as_object().unwrap().keys() {
                let call = format!("{} {path}", verb.to_uppercase());
                assert!(text.contains(&call) || station.contains(&call), "no page tells of {call}");
            }
        }
    }
    server.stop();
}

#[tokio::test]
async fn the_station_interface_answers_as_its_page_shows() {
    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.path().join("largesse-data")).ready().await;
    run("docs/station.md", scratch.path());
    server.stop();
}

#[test]
fn the_shape_of_an_answer_is_compared() {
    let shape = |shown: &str, found: &str| {
        same_shape(&serde_json::from_str(shown).unwrap(), &serde_json::from_str(found).unwrap()).is_ok()
    };
    assert!(shape(r#"{"a":[{"b":1}]}"#, r#"{"a":[{"b":2},{"b":3}]}"#));
    for (shown, found) in [
        (r#"{"a":1}"#, r#"{"a":"1"}"#),
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#),
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
        (r#"{"a":[]}"#, r#"{"a":[1]}"#),
        (r#"{"a":[1,2]}"#, r#"{"a":[1]}"#),
        (r#"{"a":null}"#, r#"{"a":1}"#),
    ] {
        assert!(!shape(shown, found), "{shown} {found}");
    }
}

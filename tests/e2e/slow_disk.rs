//! A disk that takes its time: what is not known is called unknown.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Answer, As, Call, Config, Launch, Scratch, until};
use crate::setup::has_everything_in_its_folder;
use crate::shim::Shim;

const SENDER: u64 = 3001;

#[tokio::test]
async fn a_late_answer_is_called_unknown_and_the_lookup_becomes_final() {
    if !has_everything_in_its_folder("its disk is not waited for; `servers` has a slow broker") {
        return;
    }
    let scratch = Scratch::new();
    let shim = Shim::build(scratch.path());
    let more = "[http]\ndeadline = \"300 ms\"\nanswer-patience = \"200 ms\"".into();
    let config = Config { more, ..Config::new(&[2001]) };
    let server = shim.on(Launch::serve(&scratch.data(), &config)).ready().await;
    let client = &server.client;
    client.apply_catalog(|_| ()).await;
    client.recharge(SENDER, 100, "first").await.ok();

    shim.delay_syncs(Duration::from_secs(2));
    let body = json!({"gift_id": 1, "count": 1, "to": [2001]});
    let late = client.gift(SENDER, "late", &body).await;
    assert_eq!((late.status.as_u16(), late.code()), (504, "outcome_unknown"), "{}", late.body);
    assert_eq!(late.body["retryable"], true);
    let poll = late.body["poll"].as_str().unwrap().to_owned();
    assert!(late.body["final_after"].is_string(), "{}", late.body);
    shim.delay_syncs(Duration::ZERO);

    // It had been decided in time, so the poll ends with its receipt, and so does a retry.
    let (poll, found) = (&poll, |answer: Answer| answer.status.is_success().then_some(answer.body));
    let ask = || async { found(client.call(Call::get(As::Viewer(SENDER), poll.as_str())).await) };
    let receipt = until("the outcome is known", Duration::from_secs(20), ask).await;
    assert_eq!(receipt["balance_after"], 99);
    let again = client.gift(SENDER, "late", &body).await;
    assert!(again.is_replayed, "{}", again.body);
    assert_eq!(client.coins(SENDER).await, 99);

    // Of one that never came, the answer is final once its time has passed, and not before.
    let deadline: u64 = poll.rsplit_once("final_after=").unwrap().1.parse().unwrap();
    for (final_after, is_final) in [(deadline + 3_600_000, false), (deadline, true)] {
        let path = format!("/v1/gifts/never-sent?final_after={final_after}");
        let answer = client.call(Call::get(As::Viewer(SENDER), path)).await;
        assert_eq!((answer.code(), &answer.body["final"]), ("event_unknown", &is_final.into()), "{}", answer.body);
    }
    server.stop();
}

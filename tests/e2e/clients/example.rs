//! The example of `docs/clients.md`, which has these lines as they stand.

use std::path::Path;

use largesse_client::{Client, Failure, FileOutbox, Gift, Options};

use crate::harness::{Launch, Scratch, root};

#[rustfmt::skip]
async fn example(folder: &Path, url: &str, token: &str) -> Result<(), Box<dyn std::error::Error>> {
    let outbox = FileOutbox::open(folder.join("gifts.outbox"))?;
    let client = Client::open(Options::new(url, token), outbox).await?;

    // What an earlier run left open. Nothing of it is sent under another key.
    for settled in client.resume().await {
        println!("{}: {:?}", settled.id, settled.outcome);
    }

    match client.send_gift(Gift::new(1001, 9, 10, [2001, 2002])).await {
        Ok(receipt) => println!("paid {}, {} are left", receipt.total, receipt.balance_after),
        Err(Failure::Refused(problem)) => println!("not sent: {}", problem.prompt.as_ref().unwrap_or(&problem.detail)),
        // Do not say that it failed: it may have been applied, and `resume` will tell.
        Err(Failure::Pending { id, why }) => println!("{id} is on its way: {why}"),
        Err(other) => println!("not sent: {other}"),
    }
    Ok(())
}

#[tokio::test]
async fn the_example_of_the_page_is_this_one_and_works() {
    let page = std::fs::read_to_string(root().join("docs/clients.md")).unwrap();
    let shown = page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let here = include_str!("example.rs");
    let here = here.split_once("std::error::Error>> {\n").unwrap().1.split_once("    Ok(())").unwrap().0;
    let here: String = here.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    assert_eq!(shown, here);

    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.data()).ready().await;
    example(scratch.path(), &server.client.public, &server.client.token(3001)).await.unwrap();
    assert_eq!(server.client.coins(3001).await, 99_900);
    server.stop();
}

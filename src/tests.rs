//! The command line as people meet it: what parses, what is refused, and what help says.

use clap::{CommandFactory, Parser};
use expect_test::{Expect, expect, expect_file};

use crate::args::Cli;

#[test]
fn the_tree_of_commands_is_consistent() {
    Cli::command().debug_assert();
}

/// Help of every command, in one file that reviewers can read.
#[test]
fn help_stays_what_it_is() {
    let mut text = String::new();
    let mut root = Cli::command().term_width(110).disable_version_flag(true);
    root.build();
    all_help(&mut root, &mut text);
    let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n";
    expect_file!["./help.txt"].assert_eq(&text);
}

fn all_help(command: &mut clap::Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or("largesse").to_owned();
    text.push_str(&format!("==== {name}\n{}\n", command.render_long_help()));
    for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
        all_help(below, text);
    }
}

#[test]
fn every_help_has_examples() {
    fn check(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Examples:"), "`{}` needs examples", command.get_name());
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

/// The examples in help are real: each parses.
#[test]
fn examples_parse() {
    fn collect(command: &clap::Command, found: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        found.extend(help.lines().map(str::trim).filter(|line| line.starts_with("largesse ")).map(str::to_owned));
        command.get_subcommands().for_each(|below| collect(below, found));
    }
    let mut examples = Vec::new();
    collect(&Cli::command(), &mut examples);
    assert!(examples.len() > 10, "{examples:?}");
    for example in examples {
        let line = example.split("   ").next().unwrap_or_default().replace("\"spring gifts\"", "spring");
        if let Err(error) = Cli::try_parse_from(line.split_whitespace()) {
            panic!("{line}\n{error}");
        }
    }
}

#[track_caller]
fn check(line: &str, want: Expect) {
    let told = match Cli::try_parse_from(line.split_whitespace()) {
        Ok(_) => "fine".to_owned(),
        Err(error) => format!("{} {}", error.exit_code(), error.to_string().lines().next().unwrap_or_default()),
    };
    want.assert_eq(&told);
}

#[test]
fn wrong_arguments_are_told_and_end_with_2() {
    check(
        "largesse gift send --from 3001 --room 1001 --gift rose",
        expect!["2 error: the following required arguments were not provided:"],
    );
    check(
        "largesse gift send --from ann --room 1001 --gift rose --to 2001",
        expect!["2 error: invalid value 'ann' for '--from <USER>': invalid digit found in string"],
    );
    check("largesse gift snd", expect!["2 error: unrecognized subcommand 'snd'"]);
    check(
        "largesse account recharge 3001 --amount -5 --transaction t",
        expect!["2 error: unexpected argument '-5' found"],
    );
    check("largesse catalog apply c.toml", expect!["2 error: the following required arguments were not provided:"]);
    check("largesse catalog apply c.toml --dry-run", expect!["fine"]);
    check(
        "largesse token gen --user 0",
        expect!["2 error: invalid value '0' for '--user <USER>': 0 is not in 1..18446744073709551615"],
    );
    check(
        "largesse config check --profile clutser",
        expect![
            "2 error: invalid value 'clutser' for '--profile <NAME>': `clutser` is not a profile; known are dev, single, cluster, bench (did you mean `cluster`?)"
        ],
    );
    check("largesse account get 3001 -o yaml", expect!["2 error: invalid value 'yaml' for '--output <FORMAT>'"]);
}

//! The tables of `docs/benchmarks.md`, made of what a suite measured.

use serde_json::Value;

use super::suite::{Figures, Row};

/// Every row with the command that made it.
pub fn tables(figures: &Figures) -> String {
    let of = |bench: &str| -> Vec<&Row> {
        let command = format!("largesse bench {bench} ");
        figures.rows.iter().filter(|row| row.command.starts_with(&command)).collect()
    };
    let mut parts = vec![heading(figures)];
    let (engine, recovery, http, ws) = (of("engine"), of("recovery"), of("http"), of("ws"));
    let (sustained, engine): (Vec<&Row>, Vec<&Row>) =
        engine.into_iter().partition(|row| row.report["sustained"].is_object());
    parts.extend((!engine.is_empty()).then(|| engine_table(&engine)));
    parts.extend((!sustained.is_empty()).then(|| sustained_table(&sustained)));
    parts.extend((!recovery.is_empty()).then(|| recovery_table(&recovery)));
    parts.extend((!http.is_empty()).then(|| http_table(&http)));
    parts.extend((!ws.is_empty()).then(|| ws_table(&ws)));
    parts.join("\n\n")
}

fn heading(figures: &Figures) -> String {
    let machine = figures.rows.first().map(|row| &row.report["machine"]).unwrap_or(&Value::Null);
    let mut text = format!(
        "Largesse {} ({}), {} cores of {}, {} GiB, Linux {}",
        figures.version,
        figures.commit,
        number(machine, "/cores", 0),
        machine["cpu"].as_str().unwrap_or("an unknown processor"),
        machine["memory_bytes"].as_u64().unwrap_or_default() >> 30,
        machine["kernel"].as_str().unwrap_or("of an unknown version"),
    );
    if machine["is_optimized"] == false {
        text.push_str("; **a development build, whose figures say little**");
    }
    if machine["is_on_disk"] == false {
        text.push_str("; **data in memory, where a sync costs nothing**");
    }
    text + ". Callers and clients ran on the same cores."
}

fn engine_table(rows: &[&Row]) -> String {
    let header = [
        "engine",
        "durable gifts/s",
        "CPU s per million (of which callers)",
        "p50 / p99 / p99.9 ms",
        "log bytes per gift",
        "lag at the end, gone after",
        "command",
    ];
    let rows = rows.iter().map(|Row { name, command, report }| {
        vec![
            name.clone(),
            number(report, "/gifts_per_second", 0),
            cpu(report),
            latency(report, ""),
            number(report, "/log_bytes_per_gift", 1),
            format!("{} events, {} s", number(report, "/flush_lag_events", 0), number(report, "/drain_seconds", 2)),
            code(command),
        ]
    });
    table(&header, rows)
}

fn sustained_table(rows: &[&Row]) -> String {
    let header = [
        "sustained",
        "gifts/s with a flat lag",
        "digested gifts/s",
        "CPU s per million (of which callers)",
        "p50 / p99 / p99.9 ms",
        "most events behind",
        "command",
    ];
    let rows = rows.iter().map(|Row { name, command, report }| {
        let rate = &report["sustained"]["gifts_per_second"];
        let rate = if rate.is_null() { "no rate held".into() } else { number(rate, "", 0) };
        vec![
            name.clone(),
            rate,
            number(report, "/sustained/digested_per_second", 0),
            cpu(report),
            latency(report, ""),
            number(report, "/flush_lag_events_max", 0),
            code(command),
        ]
    });
    table(&header, rows)
}

fn recovery_table(rows: &[&Row]) -> String {
    let header = [
        "recovery",
        "serving again after",
        "log / store / shards / first gifts s",
        "wallets",
        "events in the log only",
        "MiB serving / with all wallets",
        "bytes per wallet read",
        "command",
    ];
    let rows = rows.iter().map(|Row { name, command, report }| {
        let phases = ["/log_seconds", "/store_seconds", "/shards_seconds", "/first_gifts_seconds"];
        let mebibytes =
            |path: &str| (report.pointer(path).and_then(Value::as_u64).unwrap_or_default() >> 20).to_string();
        vec![
            name.clone(),
            format!("{} s", number(report, "/seconds", 2)),
            phases.map(|path| number(report, path, 2)).join(" / "),
            number(report, "/bench/viewers", 0),
            number(report, "/unflushed_events", 0),
            ["/memory/after_start_bytes", "/memory/after_reading_all_bytes"].map(mebibytes).join(" / "),
            number(report, "/memory/per_wallet_bytes", 0),
            code(command),
        ]
    });
    table(&header, rows)
}

fn http_table(rows: &[&Row]) -> String {
    let header = [
        "HTTP",
        "requests/s",
        "part of the bare handler's",
        "p50 / p99 / p99.9 ms",
        "server CPU µs a request (with flushing)",
        "client CPU µs a request",
        "command",
    ];
    let side = |name: &str, report: &Value, side: &str, ratio: String, command: String| {
        let figure = |field: &str| number(report, &format!("/{side}/{field}"), 1);
        let at_rest = figure("server_cpu_us_per_request_at_rest");
        vec![
            name.to_owned(),
            number(report, &format!("/{side}/requests_per_second"), 0),
            ratio,
            latency(report, &format!("/{side}")),
            format!("{} ({at_rest})", figure("server_cpu_us_per_request")),
            figure("client_cpu_us_per_request"),
            command,
        ]
    };
    let rows = rows.iter().flat_map(|Row { command, report, .. }| {
        let ratio = number(report, "/ratio", 2);
        [
            side("gifts", report, "gifts", ratio, code(command)),
            side("bare axum handler", report, "bare", "1".into(), "the same run".into()),
        ]
    });
    table(&header, rows)
}

fn ws_table(rows: &[&Row]) -> String {
    let header = [
        "WebSocket",
        "sockets",
        "bytes per quiet socket",
        "server CPU µs to connect one",
        "deliveries/s of bytes",
        "server CPU s per million deliveries",
        "p50 / p99 / p99.9 ms",
        "command",
    ];
    let rows = rows.iter().map(|Row { name, command, report }| {
        let deliveries = ["/deliveries_per_second", "/bytes_per_frame"].map(|path| number(report, path, 0));
        vec![
            name.clone(),
            number(report, "/bench/sockets", 0),
            number(report, "/bytes_per_socket", 0),
            number(report, "/cpu_us_per_connect", 0),
            deliveries.join(" of "),
            number(report, "/cpu_seconds_per_million_deliveries", 2),
            latency(report, ""),
            code(command),
        ]
    });
    table(&header, rows)
}

fn cpu(report: &Value) -> String {
    let all = number(report, "/cpu_seconds_per_million", 2);
    format!("{all} ({})", number(report, "/callers_cpu_seconds_per_million", 2))
}

fn latency(report: &Value, below: &str) -> String {
    let millis = |name: &str| {
        let micros = report.pointer(&format!("{below}/latency/{name}")).and_then(Value::as_f64).unwrap_or(f64::NAN);
        format!("{:.2}", micros / 1_000.0)
    };
    ["p50_us", "p99_us", "p999_us"].map(millis).join(" / ")
}

/// A figure with its thousands set apart; a figure that is not there is told as such.
fn number(report: &Value, path: &str, digits: usize) -> String {
    let Some(figure) = report.pointer(path).and_then(Value::as_f64) else { return "–".into() };
    let text = format!("{figure:.digits$}");
    let (whole, rest) = text.find('.').map_or((text.as_str(), ""), |dot| text.split_at(dot));
    let mut set_apart = String::new();
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left % 3 == 0 && !set_apart.ends_with('-') {
            set_apart.push(',');
        }
        set_apart.push(digit);
    }
    set_apart + rest
}

fn code(command: &str) -> String {
    format!("`{command}`")
}

fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let mut lines = vec![line(&header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())];
    lines.push(format!("|{}", "---|".repeat(header.len())));
    lines.extend(rows.into_iter().map(|row| line(&row)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_set_so_that_they_can_be_read() {
        let shown = |figure: Value, digits| number(&figure, "", digits);
        assert_eq!(shown(json!(1_234_567.8), 0), "1,234,568");
        assert_eq!(shown(json!(999), 0), "999");
        assert_eq!(shown(json!(-1_000.25), 1), "-1,000.2");
        assert_eq!(shown(json!(null), 1), "–");
    }

    #[test]
    fn every_row_has_its_command() {
        let latency = json!({"p50_us": 1_500, "p99_us": 20_000, "p999_us": 30_000});
        let report = json!({
            "machine": {"cores": 2, "cpu": "X", "kernel": "6", "is_optimized": false, "is_on_disk": true},
            "gifts_per_second": 600_000.4, "cpu_seconds_per_million": 3.0, "callers_cpu_seconds_per_million": 0.5,
            "latency": latency, "log_bytes_per_gift": 47.0, "flush_lag_events": 1_000, "drain_seconds": 0.5,
            "sustained": null,
        });
        let command = "largesse bench engine --hosts 1".to_owned();
        let rows = vec![Row { name: "1 host".into(), command, report }];
        let figures = Figures { version: "0.1.0".into(), commit: "abc".into(), rows };
        expect![[r#"
            Largesse 0.1.0 (abc), 2 cores of X, 0 GiB, Linux 6; **a development build, whose figures say little**. Callers and clients ran on the same cores.

            | engine | durable gifts/s | CPU s per million (of which callers) | p50 / p99 / p99.9 ms | log bytes per gift | lag at the end, gone after | command |
            |---|---|---|---|---|---|---|
            | 1 host | 600,000 | 3.00 (0.50) | 1.50 / 20.00 / 30.00 | 47.0 | 1,000 events, 0.50 s | `largesse bench engine --hosts 1` |"#]]
        .assert_eq(&tables(&figures));
    }
}
